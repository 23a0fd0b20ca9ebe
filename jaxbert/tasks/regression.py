"""A number for every text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbert.metrics.regression import pearson_correlation, spearman_correlation
from jaxbert.nn.head import ProblemType
from jaxbert.tasks.finetuning import Column
from jaxbert.tasks.labels import label_values
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.tables import Table
from jaxbert.tasks.target import Mistake, Outputs
from jaxbert.tasks.task import WeightedSums, row_count
from jaxbert.typing import Array, Batch

_WITHIN_REACH = 10.0
"""AdamW moves an output by some 0.01 to 0.02 a step: a rate of 2e-5 to 5e-5 times the sum of the
vector's sizes, a few hundred. STS-B's labels end at 5."""


@dataclass(frozen=True)
class Regression:
    """Batch: labels float32 [batch]; rows count where `row_ids` >= 0. The squared error."""

    labels: tuple[str, ...] = ("LABEL_0",)
    problem_type: ProblemType = "regression"
    thresholds: None = None
    brings_logits: bool = True
    measure: str = "difference"

    @property
    def column(self) -> Column:
        """A number."""
        return Column(np.float32)

    def values(self, sentences: Sentences) -> np.ndarray:
        """float32 [rows]."""
        return label_values(sentences, " (for classes set task.regression=false)")

    def weight(self, batch: Batch) -> Array:
        """Rows that count."""
        return row_count(batch)

    def losses(self, logits: Array, batch: Batch) -> Array:
        """Squared errors."""
        errors = jnp.square(logits[..., 0] - batch["labels"].astype(jnp.float32))
        return jnp.where(batch["row_ids"] >= 0, errors, 0.0)

    def divergences(self, logits: Array, teacher: Array, temperature: float) -> Array:
        """Squared differences; numbers have no temperature."""
        return jnp.square(logits[..., 0] - teacher[..., 0])

    def metric_sums(self, logits: Array, batch: Batch) -> WeightedSums:
        """None: every metric is computed from the rows."""
        return {}

    def outputs(self, logits: Array) -> dict[str, Array]:
        """The logits, which are the numbers."""
        return {"logits": logits}

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Mean of the squared errors."""
        return float(np.mean(np.square(logits[:, 0] - labels)))

    def metrics(self, labels: np.ndarray, outputs: Outputs) -> dict[str, float]:
        """Pearson and Spearman."""
        values = outputs["logits"][:, 0]
        return {
            "pearson": pearson_correlation(labels, values),
            "spearman": spearman_correlation(labels, values),
        }

    def predictions(self, outputs: Outputs) -> Iterator[dict[str, Any]]:
        """The predicted `value`."""
        for value in outputs["logits"][:, 0].tolist():
            yield {"value": value}

    def tables(self, labels: np.ndarray, outputs: Outputs) -> tuple[Table, ...]:
        """How large the differences are."""
        errors = np.abs(outputs["logits"][:, 0].astype(np.float64) - labels)
        shares = (0.5, 0.9, 0.99) if len(errors) else ()
        rows = tuple((f"{share:.0%}", float(np.quantile(errors, share))) for share in shares)
        return (Table("Differences", ("of the texts", "at most"), rows),)

    def mistakes(self, labels: np.ndarray, outputs: Outputs) -> Iterator[Mistake]:
        """From the largest difference on."""
        values = outputs["logits"][:, 0].astype(np.float64)
        errors = values - labels
        for place in np.argsort(-np.abs(errors), kind="stable").tolist():
            yield place, float(labels[place]), float(values[place]), float(errors[place])

    def notes(self, labels: np.ndarray) -> tuple[str, ...]:
        """Where the labels lie, and what to do where that is far from where a model begins."""
        mean, deviation = float(labels.mean()), float(labels.std())
        low, high = float(labels.min()), float(labels.max())
        note = f"labels: {mean:.6g} on average, {low:.6g} to {high:.6g}, deviation {deviation:.6g}"
        if max(-low, high) <= _WITHIN_REACH:
            return (note,)
        remedy = "begin with the average: task.prior_bias=true"
        if max(mean - low, high - mean) > _WITHIN_REACH:
            remedy = "train on (label - average) / deviation"
        return (f"{note}; far from 0, where a new model begins: {remedy}",)
