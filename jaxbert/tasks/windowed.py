"""Sequence classification of long texts, read in windows: every text counts once."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxbert.data.reading import Combination
from jaxbert.nn.head import Head
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.losses import cross_entropies
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.task import WeightedSums
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class WindowedClassification:
    """The batch of the task besides with `weights` and `document_ids` of every window.

    Training minimises the weighted loss of windows, so that a text counts as much in one window as
    in ten. Evaluation combines the logits of a text, and all metrics, the loss too, are of texts.
    """

    task: SequenceClassification
    combine: Combination = "mean"

    @property
    def head(self) -> Head:
        """The head of the task."""
        return self.task.head

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """Those of the task."""
        return self.task.model_inputs

    @property
    def loss_factors(self) -> Mapping[str, float]:
        """Those of the task."""
        return self.task.loss_factors

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Windows that count; their weights are 1 on average over all, not in every batch."""
        return self.task.loss_weights(batch)

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Weighted cross-entropy, or squared error."""
        assert output.logits is not None
        labels = batch["labels"]
        if self.task.is_regression:
            losses = jnp.square(output.logits[..., 0] - labels.astype(jnp.float32))
        else:
            losses = cross_entropies(output.logits, labels)
        # Of a filler the weight is 0.
        return {"loss": jnp.sum(batch["weights"] * losses)}

    def metric_sums(self, output: ModelOutput, batch: Batch) -> WeightedSums:
        """Those of the task."""
        return self.task.metric_sums(output, batch)

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """Those of the task."""
        return self.task.row_outputs(output)

    def metrics(self, means: dict[str, float], rows: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Those of the task over whole texts; `rows` are windows, those of a text in order."""
        documents = rows["document_ids"]
        firsts = first_windows(documents)
        texts = {
            "logits": combine_windows(rows["logits"], documents, self.combine),
            "labels": rows["labels"][firsts],
        }
        return self.task.metrics(means | {"loss": self._loss(**texts)}, texts)

    def _loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        if self.task.is_regression:
            return float(np.mean(np.square(logits[:, 0] - labels)))
        chosen = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return float(np.mean(scipy.special.logsumexp(logits, axis=-1) - chosen))


def first_windows(documents: np.ndarray) -> np.ndarray:
    """Where every document's windows begin; those of one follow one another."""
    return np.flatnonzero(np.diff(documents, prepend=-1))


def combine_windows(logits: np.ndarray, documents: np.ndarray, how: Combination) -> np.ndarray:
    """float64 [documents, classes] from those of windows [windows, classes], in order.

    last_weighted: window i of a document, from 1 on, has weight i in the mean.
    """
    firsts = first_windows(documents)
    logits = logits.astype(np.float64)
    if how == "max":
        return np.maximum.reduceat(logits, firsts)
    sizes = np.diff(firsts, append=len(documents))
    within = np.arange(len(documents)) - np.repeat(firsts, sizes)
    weights = within + 1.0 if how == "last_weighted" else np.ones(len(documents))
    totals = np.add.reduceat(logits * weights[:, None], firsts)
    return totals / np.add.reduceat(weights, firsts)[:, None]
