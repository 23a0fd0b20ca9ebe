"""What the training loop knows of a task."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.nn.head import Head
from jaxbert.typing import Array, Batch, Params

MODEL_INPUTS = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "sequence_ids",
    "sequence_starts",
    "masked_lm_positions",
    "features",
)

A = TypeVar("A", jax.Array, np.ndarray)
WeightedSums = dict[str, tuple[Array, Array]]
"""name -> (sum, weight), both scalars; divided once, after all microbatches and devices."""

LABELS = "labels_loss"
"""What `loss` of a task is called where other losses are added to it: the total is `loss`."""


@runtime_checkable
class Task(Protocol):
    """An objective: a frozen value whose methods are pure. Tasks inherit what they have none of.

    Every task has a head, loss_weights and loss_sums of its own.

    The loss that is minimised is the sum over names of `loss_sums[name] / loss_weights[name]`,
    each times `loss_factor(name)`.
    Weights come from the batch alone, so that microbatches of unequal weight add up to exactly
    the loss of the whole batch. In training a batch has the rows of one device: a loss between
    rows asks for `nn.placement.all_rows`, and sums over its own.
    """

    @property
    @abstractmethod
    def head(self) -> Head:
        """The head that the task needs."""

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """Entries of a batch that the model is called with, where the batch has them."""
        return MODEL_INPUTS

    @property
    def compares_rows(self) -> bool:
        """Whether a row's loss depends on others, so that it must see those of all microbatches."""
        return False

    def compared(self, output: Any) -> Any:
        """Of an output what such a loss reads: that much is kept of every microbatch."""
        return output

    @property
    def counts_steps(self) -> bool:
        """Whether batches of training are to have `step`, int32 [batch], how many were before."""
        return False

    def loss_factor(self, name: str) -> float:
        """What multiplies a loss in the total."""
        return 1.0

    @abstractmethod
    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Denominator of every loss: how many labels count in this batch (float32 scalars)."""

    @abstractmethod
    def loss_sums(self, output: Any, batch: Batch) -> dict[str, Array]:
        """Sum of every loss over the labels that count (float32 scalars)."""

    def metric_sums(self, output: Any, batch: Batch) -> WeightedSums:
        """Evaluation sums beyond the losses, such as counts of correct answers.

        One with the name of a loss takes its place in evaluation.
        """
        return {}

    def row_outputs(self, output: Any) -> dict[str, Array]:
        """What evaluation brings to the host of every example, such as logits."""
        return {}

    def kept(self, rows: dict[str, Any]) -> dict[str, Any]:
        """What of a batch's `row_outputs`, as NumPy arrays, the host keeps: arrays of as many rows.

        Such as the components of sparse vectors that are not 0.
        """
        return rows

    def token_outputs(self, output: Any) -> dict[str, Array]:
        """Likewise of every token: [batch, seq, ...]."""
        return {}


def beside_others(losses: dict[str, Array]) -> dict[str, Array]:
    """A task's losses, or their weights, under the names that they have beside other losses."""
    return {LABELS if name == "loss" else name: value for name, value in losses.items()}


def factor_beside_others(task: Task, name: str) -> float:
    """A task's `loss_factor` of a loss that is called as `beside_others` calls it."""
    return task.loss_factor("loss" if name == LABELS else name)


def real_tokens(batch: Mapping[str, A]) -> A:
    """bool [batch, seq]: False at padding."""
    return example_ids(batch) != 0


def example_ids(batch: Mapping[str, A]) -> A:
    """[batch, seq]: 1, 2, ... for the tokens of the examples of packed rows, else 1; 0 at padding.

    Unpacked rows say so by their `attention_mask`.
    """
    return batch["sequence_ids" if "sequence_ids" in batch else "attention_mask"]


def row_count(batch: Batch) -> Array:
    """How many rows of a batch are examples, and not what fills it (float32 scalar)."""
    return jnp.sum(batch["row_ids"] >= 0, dtype=jnp.float32)


def run_model(
    apply: Callable[..., Any],
    params: Params,
    batch: Batch,
    key: Array | None = None,
    *,
    inputs: tuple[str, ...] = MODEL_INPUTS,
    fixed: tuple[Params, ...] = (),
) -> Any:
    """Calls the model with those entries of a batch that are its inputs.

    `fixed`: what it takes besides `params`, such as those of a teacher.
    """
    given: dict[str, Any] = {name: batch[name] for name in inputs if name in batch}
    return apply(params, *fixed, **given, key=key)
