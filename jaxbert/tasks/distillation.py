"""Learning from a teacher: what another model answers, beside the labels or in their place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from annotated_types import Ge, Gt

from jaxbert.errors import UserError
from jaxbert.nn.head import Head
from jaxbert.nn.model import Capture
from jaxbert.nn.numerics import unit
from jaxbert.options import check_options
from jaxbert.tasks.relations import relation_losses
from jaxbert.tasks.task import Task, beside_others, example_ids, factor_beside_others, real_tokens
from jaxbert.typing import Array, Batch, Params

ANSWERS, HIDDEN, RELATIONS = "distillation_loss", "hidden_loss", "relations_loss"

_PART = 16
"""Features of a part in the paper: 48 parts of BERT-base's 768, 64 of BERT-large's 1,024."""


@dataclass(frozen=True)
class DistillationConfig:
    """What is learnt from another model beside the labels, or in their place."""

    teacher: str
    """Model directory, run directory or hub id, with the same tokens and, in fine-tuning, labels;
    of any family and size."""
    temperature: Annotated[float, Gt(0)] = 2.0
    """Logits of both are divided by it; the loss is multiplied by its square."""
    labels_weight: Annotated[float, Ge(0)] = 0.5
    """Of what the run would learn without a teacher; 0: nothing of the labels."""
    logits_weight: Annotated[float, Ge(0)] = 0.5
    """Of the divergence from what the teacher answers: of the words at masked positions, classes,
    tags, places or choices. Of numbers it is the squared difference, and of embeddings, which must
    be equally wide."""
    hidden_states_weight: Annotated[float, Ge(0)] = 0.0
    """Of one minus the cosine of both last hidden states, which must be equally wide."""
    relations_weight: Annotated[float, Ge(0)] = 0.0
    """Of how far the queries, keys and values of the student's last layer are from comparing with
    each other as the teacher's do (MiniLMv2); widths may differ."""
    relation_heads: Annotated[int, Ge(1)] | None = None
    """In so many parts of their features; null: parts of 16 of the teacher's, as in the paper."""
    relation_layer: Annotated[int, Ge(1)] | None = None
    """Of the teacher, 1 the first; null: its last. The paper has 21 of 24, and 12 of 12."""

    def __post_init__(self) -> None:
        check_options(self)
        if not (self.logits_weight or self.hidden_states_weight or self.relations_weight):
            raise UserError(
                "distillation: with logits_weight=0, hidden_states_weight=0 and relations_weight=0 "
                "nothing is learnt from the teacher: leave distillation out, or give one of them"
            )

    def relation_heads_of(self, teacher_width: int) -> int:
        """In how many parts features are compared."""
        return self.relation_heads or max(1, teacher_width // _PART)

    @property
    def capture(self) -> tuple[Capture, ...]:
        """What both models give besides their answers."""
        return ("projections",) if self.relations_weight else ()


@runtime_checkable
class Teachable(Task, Protocol):
    """A task whose answers may be those of a teacher, a model with the same head."""

    def answer_weight(self, batch: Batch) -> Array:
        """How many answers of a teacher there are to learn (float32 scalar)."""

    def answer_sum(self, output: Any, teacher: Any, batch: Batch, temperature: float) -> Array:
        """Sum of how far each answer is from the teacher's (float32 scalar)."""


class Taught(NamedTuple):
    """What student and teacher make of the same batch."""

    student: Any
    teacher: Any


@dataclass(frozen=True)
class TaughtApply:
    """apply(params, teacher's params, **inputs, key) -> Taught; the teacher is without dropout."""

    student: Callable[..., Any]
    teacher: Callable[..., Any]
    capture: tuple[Capture, ...] = ()

    def __call__(
        self, params: Params, teacher_params: Params, *, key: Array | None = None, **inputs: Any
    ) -> Taught:
        """Both read the same tokens."""
        if self.capture:
            inputs["capture"] = self.capture
        teacher = self.teacher(teacher_params, **inputs)
        return Taught(self.student(params, **inputs, key=key), teacher)


@dataclass(frozen=True)
class Distillation(Task):
    """A task that is learnt from labels and from a teacher (Hinton et al. 2015).

    Its losses are the task's own, of which `loss` is called `labels_loss` here; the mean distance
    of answers, `distillation_loss`; `hidden_loss`, the mean over real tokens of one minus the
    cosine of both last hidden states (Sanh et al. 2019, DistilBERT, section 2); and
    `relations_loss`, that of `relation_losses`. What has no weight is left out, but for labels,
    whose losses are told all the same.
    """

    task: Teachable
    config: DistillationConfig

    @property
    def head(self) -> Head:
        """The task's."""
        return self.task.head

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The task's."""
        return self.task.model_inputs

    @property
    def compares_rows(self) -> bool:
        """The task's."""
        return self.task.compares_rows

    @property
    def counts_steps(self) -> bool:
        """The task's."""
        return self.task.counts_steps

    def compared(self, output: Taught) -> Taught:
        """What the task compares, and hidden states where they are learnt."""
        if self.config.hidden_states_weight or self.config.relations_weight:
            return output
        return Taught(*(self.task.compared(one) for one in output))

    def loss_factor(self, name: str) -> float:
        """The weights; of the task's own losses times their factors."""
        others = {
            ANSWERS: self.config.logits_weight,
            HIDDEN: self.config.hidden_states_weight,
            RELATIONS: self.config.relations_weight,
        }
        if name in others:
            return others[name]
        return self.config.labels_weight * factor_beside_others(self.task, name)

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """The task's; answers; real tokens."""
        weights = beside_others(self.task.loss_weights(batch))
        if self.config.logits_weight:
            weights[ANSWERS] = self.task.answer_weight(batch)
        if self.config.hidden_states_weight:
            weights[HIDDEN] = jnp.sum(real_tokens(batch), dtype=jnp.float32)
        if self.config.relations_weight:
            weights[RELATIONS] = jnp.sum(real_tokens(batch), dtype=jnp.float32)
        return weights

    def loss_sums(self, output: Taught, batch: Batch) -> dict[str, Array]:
        """The task's, and how far the student is from its teacher."""
        student, teacher = output
        sums = beside_others(self.task.loss_sums(student, batch))
        if self.config.logits_weight:
            sums[ANSWERS] = self.task.answer_sum(student, teacher, batch, self.config.temperature)
        if self.config.hidden_states_weight:
            vectors = unit(student.last_hidden_state), unit(teacher.last_hidden_state)
            apart = 1.0 - jnp.sum(vectors[0] * vectors[1], axis=-1)
            is_real = real_tokens(batch).reshape(apart.shape)
            sums[HIDDEN] = jnp.sum(jnp.where(is_real, apart, 0.0))
        if self.config.relations_weight:
            layer = (self.config.relation_layer or len(teacher.projections)) - 1
            heads = self.config.relation_heads_of(teacher.last_hidden_state.shape[-1])
            ids = example_ids(batch).reshape(student.last_hidden_state.shape[:-1])
            pairs = student.projections[-1], teacher.projections[layer]
            sums[RELATIONS] = jnp.sum(relation_losses(*pairs, ids, heads))
        return sums

    def answer_weight(self, batch: Batch) -> Array:
        """The task's."""
        return self.task.answer_weight(batch)

    def answer_sum(self, output: Taught, other: Taught, batch: Batch, temperature: float) -> Array:
        """How far two answers of the student are from each other."""
        return self.task.answer_sum(output.student, other.student, batch, temperature)
