"""Adversarial training: word embeddings moved to where the loss is larger (Miyato et al. 2017)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Gt

from jaxbert.nn.head import Head
from jaxbert.options import check_options
from jaxbert.tasks.finetuning import LabelledTask
from jaxbert.tasks.task import Task, beside_others, factor_beside_others, real_tokens
from jaxbert.typing import Array, Batch, Params

MOVED = "adversarial_"
"""What goes before the name of a loss of moved embeddings."""


@dataclass(frozen=True)
class AdversarialConfig:
    """What moves the word embeddings, and what is learnt of it (FGM)."""

    epsilon: Annotated[float, Gt(0)] = 1.0
    """How far the embeddings of a text are moved: the norm over all of its tokens."""
    weight: Annotated[float, Gt(0)] = 1.0
    """Of the loss of the moved batch, beside that of the batch as it is."""

    def __post_init__(self) -> None:
        check_options(self)


class Moved(NamedTuple):
    """What a model makes of a batch, and of the same one with moved embeddings."""

    plain: Any
    moved: Any


@dataclass(frozen=True)
class AdversarialApply:
    """apply(params, **batch, key) -> Moved; both have the same dropout.

    It is called with what the task's losses read, too: where to move is the gradient of the loss
    of these rows by their word embeddings, in which no gradient by parameters goes back.
    """

    apply: Callable[..., Any]
    task: LabelledTask
    epsilon: float

    def __call__(self, params: Params, *, key: Array | None = None, **batch: Array) -> Moved:
        """Reads the batch, finds where to move it, and reads it there."""
        inputs = {name: batch[name] for name in self.task.model_inputs if name in batch}
        ids = inputs.pop("input_ids").astype(jnp.int32)
        words, fixed = _rows(params, ids), jax.lax.stop_gradient(params)

        def loss(words: Array) -> Array:
            output = self.apply(fixed, inputs_embeds=words, key=key, **inputs)
            sums = self.task.loss_sums(output, batch)
            return sum((self.task.loss_factor(n) * x for n, x in sums.items()), jnp.zeros(()))

        slope = jax.grad(loss)(_rows(fixed, ids))
        step = self.epsilon * directions(slope, batch)
        places = words, words + step
        return Moved(*(self.apply(params, inputs_embeds=x, key=key, **inputs) for x in places))


def directions(slope: Array, batch: Batch) -> Array:
    """Gradients by embeddings [..., seq, width] with norm 1 over the tokens of every text.

    0 at padding, and where all of a text are 0. In packed rows every example is a text.
    """
    slope = jnp.where(real_tokens(batch)[..., None], slope, 0.0)
    squares = jnp.sum(jnp.square(slope), axis=-1)
    if "sequence_ids" in batch:
        numbers = batch["sequence_ids"]
        is_same = numbers[:, :, None] == numbers[:, None, :]
        of_text = jnp.sum(jnp.where(is_same, squares[:, None, :], 0.0), axis=-1)
    else:
        of_text = jnp.sum(squares, axis=-1, keepdims=True)
    scale = jnp.where(of_text > 0, jax.lax.rsqrt(jnp.where(of_text > 0, of_text, 1.0)), 0.0)
    return slope * scale[..., None]


@dataclass(frozen=True)
class Adversarial(Task):
    """A task that is also learnt where embeddings are moved.

    Its losses are the task's own, of which `loss` is called `labels_loss` here, and the same of the
    moved batch: `adversarial_loss`.
    """

    task: LabelledTask
    config: AdversarialConfig

    @property
    def head(self) -> Head:
        """The task's."""
        return self.task.head

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The task's, and what its losses read."""
        return *self.task.model_inputs, *self.task.columns, "row_ids", "weights"

    def loss_factor(self, name: str) -> float:
        """Those of the task, of the moved batch times the weight."""
        if name.startswith(MOVED):
            return self.config.weight * self.task.loss_factor(name.removeprefix(MOVED))
        return factor_beside_others(self.task, name)

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """The task's, for both."""
        weights = self.task.loss_weights(batch)
        return beside_others(weights) | _of_moved(weights)

    def loss_sums(self, output: Moved, batch: Batch) -> dict[str, Array]:
        """The task's, of both."""
        plain, moved = (self.task.loss_sums(one, batch) for one in output)
        return beside_others(plain) | _of_moved(moved)


def _of_moved(losses: dict[str, Array]) -> dict[str, Array]:
    return {MOVED + name: value for name, value in losses.items()}


def _rows(params: Params, ids: Array) -> Array:
    table: Array = params["encoder"]["embeddings"]["word"]["embedding"]
    return table[ids]
