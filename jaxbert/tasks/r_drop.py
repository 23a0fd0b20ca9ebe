"""R-Drop: two passes with dropout of their own are to answer alike (Liang et al. 2021)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jaxbert.nn.dropout import split_key
from jaxbert.nn.head import Head
from jaxbert.tasks.distillation import Teachable
from jaxbert.tasks.task import Task, beside_others, factor_beside_others
from jaxbert.typing import Array, Batch, Params

APART = "r_drop_loss"


class Twice(NamedTuple):
    """What a model makes of the same batch with two keys."""

    first: Any
    second: Any


@dataclass(frozen=True)
class TwiceApply:
    """apply(params, *fixed, **inputs, key) -> Twice; both keys are drawn from the one given."""

    apply: Callable[..., Any]

    def __call__(self, *trees: Params, key: Array | None = None, **inputs: Any) -> Twice:
        """Each pass has its own dropout."""
        return Twice(*(self.apply(*trees, **inputs, key=one) for one in split_key(key, 2)))


@dataclass(frozen=True)
class RDrop(Task):
    """A task whose two outputs are held together.

    Its losses are the means of both passes, of which `loss` is called `labels_loss` here, and
    `r_drop_loss`, the mean of both divergences: KL(first || second) and KL(second || first), of
    numbers and embeddings the squared difference. Gradients go through both outputs.
    """

    task: Teachable
    weight: float
    """Of `r_drop_loss`: alpha of the authors' code, half of the paper's, which adds up both
    passes."""

    @property
    def head(self) -> Head:
        """The task's."""
        return self.task.head

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The task's."""
        return self.task.model_inputs

    def loss_factor(self, name: str) -> float:
        """The weight; of the task's own losses their factors."""
        if name == APART:
            return self.weight
        return factor_beside_others(self.task, name)

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """The task's; answers."""
        return beside_others(self.task.loss_weights(batch)) | {
            APART: self.task.answer_weight(batch)
        }

    def loss_sums(self, output: Twice, batch: Batch) -> dict[str, Array]:
        """The task's, and how far both outputs are from each other."""
        sums = (beside_others(self.task.loss_sums(one, batch)) for one in output)
        apart = (self.task.answer_sum(*pair, batch, 1.0) for pair in (output, output[::-1]))
        return jax.tree.map(_mean, *sums) | {APART: _mean(*apart)}


def _mean(first: Array, second: Array) -> Array:
    return (first + second) / 2
