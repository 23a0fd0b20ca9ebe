"""One label per sentence or sentence pair: classes or a number."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxbert.metrics.classification import accuracy, f1, matthews_correlation
from jaxbert.metrics.regression import pearson_correlation, spearman_correlation
from jaxbert.nn.head import Head, LayerMixture, Pooling
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.losses import cross_entropy_sum, label_count
from jaxbert.tasks.task import MODEL_INPUTS, WeightedSums
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class SequenceClassification:
    """Batch: labels int32 [batch], -100 = does not count.

    Regression: labels float32 [batch]; rows count where `row_ids` >= 0. Packed rows: both are
    [batch, examples].
    """

    labels: tuple[str, ...]
    is_regression: bool = False
    classifier_dropout: float | None = None
    pooling: Pooling | None = None
    mixture: LayerMixture | None = None

    @property
    def head(self) -> Head:
        """A classifier over one vector of a text; by default of [CLS] in the last layer."""
        return Head(
            "sequence_classification",
            labels=self.labels,
            problem_type="regression" if self.is_regression else "single_label_classification",
            classifier_dropout=self.classifier_dropout,
            pooling=self.pooling,
            mixture=self.mixture,
        )

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """Every model's."""
        return MODEL_INPUTS

    @property
    def loss_factors(self) -> Mapping[str, float]:
        """None: every loss counts as it is."""
        return {}

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Rows that count."""
        if self.is_regression:
            return {"loss": jnp.sum(batch["row_ids"] >= 0, dtype=jnp.float32)}
        return {"loss": label_count(batch["labels"])}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropy, or squared error."""
        assert output.logits is not None
        if not self.is_regression:
            return {"loss": cross_entropy_sum(output.logits, batch["labels"])}
        errors = jnp.square(output.logits[..., 0] - batch["labels"].astype(jnp.float32))
        return {"loss": jnp.sum(jnp.where(batch["row_ids"] >= 0, errors, 0.0))}

    def metric_sums(self, output: ModelOutput, batch: Batch) -> WeightedSums:
        """None: every metric here is computed from the rows."""
        return {}

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The logits."""
        assert output.logits is not None
        return {"logits": output.logits}

    def metrics(self, means: dict[str, float], rows: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Loss, and accuracy, F1 and Matthews, or Pearson and Spearman."""
        labels = rows["labels"]
        if self.is_regression:
            values = rows["logits"][:, 0]
            return means | {
                "pearson": pearson_correlation(labels, values),
                "spearman": spearman_correlation(labels, values),
            }
        predicted = rows["logits"].argmax(axis=-1)
        return means | {
            "accuracy": accuracy(labels, predicted),
            "f1": f1(labels, predicted, len(self.labels)),
            "matthews_correlation": matthews_correlation(labels, predicted),
        }
