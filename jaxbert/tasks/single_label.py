"""One class for every text, of two or of twenty thousand."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxbert.metrics.balance import described_balance
from jaxbert.metrics.classification import accuracy, f1, matthews_correlation
from jaxbert.nn.head import ProblemType
from jaxbert.tasks.finetuning import Column
from jaxbert.tasks.labels import class_indices
from jaxbert.tasks.losses import (
    class_weights_of,
    cross_entropies,
    cross_entropy_sum,
    divergences,
    label_count,
    weighted_cross_entropies,
)
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.tables import Table, class_table
from jaxbert.tasks.target import Mistake, Outputs
from jaxbert.tasks.task import WeightedSums
from jaxbert.typing import Array, Batch

FEW_CLASSES = 128
"""Up to here all logits of a text come to the host: what a TPU fills a row of them up to."""


@dataclass(frozen=True)
class SingleLabel:
    """Batch: labels int32 [batch], -100 = does not count.

    The loss that is trained is torch.nn.CrossEntropyLoss(weight, label_smoothing), whose mean is
    over the weights of the labels. That of evaluation is the plain one, so that runs compare.
    """

    labels: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    top_k: int = 5
    """Of more than `FEW_CLASSES` so many come to the host, the most probable first."""
    problem_type: ProblemType = "single_label_classification"
    thresholds: None = None
    measure: str = "probability"

    @property
    def brings_logits(self) -> bool:
        """Of few classes all logits; of many only the most probable classes come to the host."""
        return len(self.labels) <= FEW_CLASSES

    @property
    def _is_plain(self) -> bool:
        return self.class_weights is None and not self.label_smoothing

    @cached_property
    def _weights(self) -> np.ndarray | None:
        weights = self.class_weights
        return None if weights is None else np.array(weights, np.float32)

    @property
    def column(self) -> Column:
        """The number of a class."""
        return Column(np.int32)

    def values(self, sentences: Sentences) -> np.ndarray:
        """int32 [rows]."""
        return class_indices(sentences, self.labels)

    def weight(self, batch: Batch) -> Array:
        """Rows that count, or the sum of the weights of their classes.

        Of windows these are times the window's own, as the losses will be: texts of one class may
        be longer than those of another, and would otherwise be counted by their windows.
        """
        if self._weights is None:
            return label_count(batch["labels"])
        weights = class_weights_of(batch["labels"], self._weights)
        return jnp.sum(weights * batch["weights"] if "weights" in batch else weights)

    def losses(self, logits: Array, batch: Batch) -> Array:
        """Cross-entropies."""
        if self._is_plain:
            return cross_entropies(logits, batch["labels"])
        smoothing = self.label_smoothing
        return weighted_cross_entropies(logits, batch["labels"], self._weights, smoothing)

    def divergences(self, logits: Array, teacher: Array, temperature: float) -> Array:
        """Of the distributions over classes."""
        return divergences(logits, teacher, temperature)

    def metric_sums(self, logits: Array, batch: Batch) -> WeightedSums:
        """The plain loss, where another one is trained."""
        if self._is_plain:
            return {}
        labels = batch["labels"]
        return {"loss": (cross_entropy_sum(logits, labels), label_count(labels))}

    def outputs(self, logits: Array) -> dict[str, Array]:
        """Logits, or of many classes the most probable and their log-probabilities."""
        if self.brings_logits:
            return {"logits": logits}
        logits = logits.astype(jnp.float32)
        top, classes = jax.lax.top_k(logits, min(self.top_k, len(self.labels)))
        total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        return {"classes": classes, "log_probabilities": top - total}

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Mean cross-entropy."""
        chosen = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return float(np.mean(scipy.special.logsumexp(logits, axis=-1) - chosen))

    def metrics(self, labels: np.ndarray, outputs: Outputs) -> dict[str, float]:
        """Accuracy, F1 and Matthews; of many classes also how often the label is among the top."""
        classes = None if self.brings_logits else outputs["classes"]
        predicted = self._predicted(outputs)
        found = {
            "accuracy": accuracy(labels, predicted),
            "f1": f1(labels, predicted, len(self.labels)),
            "matthews_correlation": matthews_correlation(labels, predicted),
        }
        if classes is None or not len(labels):
            return found
        among = (classes == labels[:, None]).any(axis=-1)
        return found | {f"top_{self.top_k}_accuracy": float(among.mean())}

    def predictions(self, outputs: Outputs) -> Iterator[dict[str, Any]]:
        """`label` and `probabilities`: of all classes, or the most probable ones in their order."""
        if not self.brings_logits:
            rows = zip(outputs["classes"], outputs["log_probabilities"], strict=True)
            for classes, logs in rows:
                names = [self.labels[place] for place in classes]
                probabilities = np.exp(logs.astype(np.float64)).tolist()
                top = dict(zip(names, probabilities, strict=True))
                yield {"label": names[0], "probabilities": top}
            return
        for logits in outputs["logits"].astype(np.float64):
            probabilities = scipy.special.softmax(logits).tolist()
            yield {
                "label": self.labels[int(logits.argmax())],
                "probabilities": dict(zip(self.labels, probabilities, strict=True)),
            }

    def tables(self, labels: np.ndarray, outputs: Outputs) -> tuple[Table, ...]:
        """Classes."""
        return (class_table(labels, self._predicted(outputs), self.labels),)

    def mistakes(self, labels: np.ndarray, outputs: Outputs) -> Iterator[Mistake]:
        """Wrong classes, those of the highest probability first."""
        predicted = self._predicted(outputs)
        if self.brings_logits:
            probabilities = scipy.special.softmax(outputs["logits"].astype(np.float64), axis=-1)
            highest = probabilities.max(axis=-1)
        else:
            highest = np.exp(outputs["log_probabilities"][:, 0].astype(np.float64))
        wrong = np.flatnonzero(predicted != labels)
        for place in wrong[np.argsort(-highest[wrong], kind="stable")].tolist():
            names = self.labels[labels[place]], self.labels[predicted[place]]
            yield place, *names, float(highest[place])

    def _predicted(self, outputs: Outputs) -> np.ndarray:
        return outputs["logits"].argmax(axis=-1) if self.brings_logits else outputs["classes"][:, 0]

    def notes(self, labels: np.ndarray) -> tuple[str, ...]:
        """How unequal the classes are."""
        return (described_balance(np.bincount(labels, minlength=len(self.labels)), self.labels),)
