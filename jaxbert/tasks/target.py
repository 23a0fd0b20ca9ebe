"""What there is to say of a text: one class, several labels, or a number."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxbert.nn.head import ProblemType
from jaxbert.tasks.finetuning import Column
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.tables import Cell, Table
from jaxbert.tasks.task import WeightedSums
from jaxbert.typing import Array, Batch

Outputs = Mapping[str, Any]
"""What `Target.outputs` gave of some texts, on the host: arrays [texts, ...]."""

Mistake = tuple[int, Cell, Cell, float]
"""Number of a text, what was expected, what was predicted, and how bad that is."""


@runtime_checkable
class Target(Protocol):
    """What a classifier's outputs stand for. A frozen value whose methods are pure.

    `labels` of a batch are [batch, ...], in packed rows [batch, examples, ...].
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""

    @property
    def problem_type(self) -> ProblemType:
        """The word of config.json for it."""

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Of the labels' probabilities, where a model keeps any."""

    @property
    def measure(self) -> str:
        """What the last entry of a mistake is."""

    @property
    def column(self) -> Column:
        """What the batch's `labels` are."""

    @property
    def brings_logits(self) -> bool:
        """Whether `outputs` are all logits, so that those of windows can be combined."""

    def values(self, sentences: Sentences) -> np.ndarray:
        """`labels` of rows. Raises UserError with file and line for what is no label."""

    def weight(self, batch: Batch) -> Array:
        """Denominator of the loss (float32 scalar)."""

    def losses(self, logits: Array, batch: Batch) -> Array:
        """float32 [batch] or [batch, examples]; 0 for what does not count."""

    def divergences(self, logits: Array, teacher: Array, temperature: float) -> Array:
        """float32 [batch] or [batch, examples]: how far they are from a teacher's logits."""

    def metric_sums(self, logits: Array, batch: Batch) -> WeightedSums:
        """As `Task.metric_sums`."""

    def outputs(self, logits: Array) -> dict[str, Array]:
        """What evaluation brings to the host."""

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """The loss of evaluation, in float64, of texts whose windows are combined."""

    def metrics(self, labels: np.ndarray, outputs: Outputs) -> dict[str, float]:
        """Metrics beside the loss."""

    def predictions(self, outputs: Outputs) -> Iterator[dict[str, Any]]:
        """What a user reads, an object a text."""

    def tables(self, labels: np.ndarray, outputs: Outputs) -> tuple[Table, ...]:
        """Breakdowns by class, label or size."""

    def mistakes(self, labels: np.ndarray, outputs: Outputs) -> Iterator[Mistake]:
        """From the worst on."""

    def notes(self, labels: np.ndarray) -> tuple[str, ...]:
        """What the one who trains on these labels should know of them."""
