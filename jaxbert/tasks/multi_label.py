"""Any number of labels for every text."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxbert.metrics.multi_label import multi_label_metrics
from jaxbert.metrics.thresholds import best_thresholds
from jaxbert.nn.head import ProblemType
from jaxbert.tasks.finetuning import Column
from jaxbert.tasks.labels import label_matrix
from jaxbert.tasks.losses import binary_cross_entropies, binary_divergences
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.tables import MANY, Table, precision_recall_f1
from jaxbert.tasks.target import Mistake, Outputs
from jaxbert.tasks.task import WeightedSums, row_count
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class MultiLabel:
    """Batch: labels 0.0 or 1.0 [batch, labels]; rows count where `row_ids` >= 0.

    The loss is transformers': the mean over all labels of binary cross-entropies.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    """A label is predicted where its probability is at least this; None: 0.5."""
    problem_type: ProblemType = "multi_label_classification"
    brings_logits: bool = True
    measure: str = "loss"

    @property
    def column(self) -> Column:
        """A number for every label."""
        return Column(np.float32, width=len(self.labels))

    def values(self, sentences: Sentences) -> np.ndarray:
        """float32 [rows, labels]."""
        return label_matrix(sentences, self.labels)

    def weight(self, batch: Batch) -> Array:
        """Rows that count."""
        return row_count(batch)

    def losses(self, logits: Array, batch: Batch) -> Array:
        """Means over labels."""
        losses = jnp.mean(binary_cross_entropies(logits, batch["labels"]), axis=-1)
        return jnp.where(batch["row_ids"] >= 0, losses, 0.0)

    def divergences(self, logits: Array, teacher: Array, temperature: float) -> Array:
        """Means over labels."""
        return jnp.mean(binary_divergences(logits, teacher, temperature), axis=-1)

    def metric_sums(self, logits: Array, batch: Batch) -> WeightedSums:
        """None: every metric is computed from the rows."""
        return {}

    def outputs(self, logits: Array) -> dict[str, Array]:
        """The logits."""
        return {"logits": logits}

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Mean over texts and labels."""
        return float(np.mean(np.logaddexp(0.0, logits) - labels * logits))

    def metrics(self, labels: np.ndarray, outputs: Outputs) -> dict[str, float]:
        """F1, subset accuracy, and what depends on no threshold."""
        probabilities = _probabilities(outputs)
        return multi_label_metrics(labels > 0.5, probabilities, self._predicted(probabilities))

    def predictions(self, outputs: Outputs) -> Iterator[dict[str, Any]]:
        """The `labels` that reach their thresholds, and the `probabilities` of all."""
        probabilities = _probabilities(outputs)
        for row, predicted in zip(probabilities, self._predicted(probabilities), strict=True):
            yield {
                "labels": [self.labels[place] for place in np.flatnonzero(predicted)],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }

    def tables(self, labels: np.ndarray, outputs: Outputs) -> tuple[Table, ...]:
        """Labels; of more than `MANY` those that cost the most mistakes."""
        true, predicted = labels > 0.5, self._predicted(_probabilities(outputs))
        there, given, right = (x.sum(axis=0) for x in (true, predicted, true & predicted))
        scores, size = precision_recall_f1(right, given, there), len(self.labels)
        thresholds = np.broadcast_to(self._threshold, size)
        costs = (true != predicted).sum(axis=0)
        chosen = np.argsort(-costs, kind="stable")[:MANY] if size > MANY else np.arange(size)
        rows = tuple(
            (
                self.labels[place],
                int(there[place]),
                *scores[place].tolist(),
                float(thresholds[place]),
            )
            for place in chosen.tolist()
        )
        title = "Labels" if size <= MANY else f"The {MANY} labels of {size:,} with most mistakes"
        return (Table(title, ("label", "texts", "precision", "recall", "F1", "threshold"), rows),)

    def mistakes(self, labels: np.ndarray, outputs: Outputs) -> Iterator[Mistake]:
        """Texts by their number of wrong labels, then by their loss."""
        true, predicted = labels > 0.5, self._predicted(_probabilities(outputs))
        number = (true != predicted).sum(axis=-1)
        losses = np.mean(np.logaddexp(0.0, outputs["logits"]) - labels * outputs["logits"], axis=-1)
        for place in np.lexsort((-losses, -number)).tolist():
            if number[place]:
                names = (self._names(flags[place]) for flags in (true, predicted))
                yield place, *names, float(losses[place])

    def _names(self, flags: np.ndarray) -> str:
        return ", ".join(self.labels[place] for place in np.flatnonzero(flags))

    def notes(self, labels: np.ndarray) -> tuple[str, ...]:
        """Labels a text, the rarest, and texts without any."""
        counts = labels.sum(axis=0, dtype=np.int64)
        rarest = int(counts.argmin())
        bare = int((labels.sum(axis=1) == 0).sum())
        return (
            f"labels: {len(self.labels):,}, {counts.sum() / len(labels):.2f} a text, {bare:,} texts"
            f" without any; the rarest is {self.labels[rarest]!r} with {counts[rarest]:,} texts",
        )

    def tuned(self, labels: np.ndarray, outputs: Outputs) -> "MultiLabel":
        """With the threshold of every label that has the best F1 on these texts."""
        found = best_thresholds(labels > 0.5, _probabilities(outputs))
        return replace(self, thresholds=tuple(found.tolist()))

    def _predicted(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities >= self._threshold

    @property
    def _threshold(self) -> np.ndarray:
        """[] or [labels]"""
        return np.array(0.5 if self.thresholds is None else self.thresholds)


def _probabilities(outputs: Outputs) -> np.ndarray:
    return scipy.special.expit(outputs["logits"].astype(np.float64))
