"""The teacher of a run: a model that is there already, from which another one learns."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh

from jaxbert.errors import UserError
from jaxbert.experiment.checks import check_length, check_same_tokens
from jaxbert.experiment.parameters import read_summed
from jaxbert.hub.config_file import read_splade
from jaxbert.hub.description import describe
from jaxbert.hub.load import Opened, open_params
from jaxbert.hub.source import find_model
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import Apply, abstract_params, make_apply
from jaxbert.nn.head import Head, HeadKind
from jaxbert.tasks.distillation import DistillationConfig
from jaxbert.tasks.sentence_embedding import pooled
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Params


@dataclass(frozen=True)
class Teacher:
    """A model whose parameters are fixed."""

    config: DistillationConfig
    encoder: EncoderConfig
    head: Head
    opened: Opened | None = field(default=None, repr=False)
    """None in a plan, which reads no weights."""

    @property
    def shapes(self) -> Params:
        """Of its parameters, abstract."""
        return abstract_params(self.encoder, self.head)

    def make_apply(self, dtype: jnp.dtype, execution: Execution) -> Apply:
        """Its pure function."""
        return make_apply(self.encoder, self.head, dtype, execution)

    def read(self, mesh: Mesh) -> "KnownTeacher":
        """Its parameters, placed on the mesh."""
        assert self.opened is not None
        params, checksums = read_summed(self.opened, mesh)
        known = json.dumps([_stated(self.encoder), _stated(self.head), sorted(checksums.items())])
        return KnownTeacher(params, hashlib.sha256(known.encode()).hexdigest()[:32])


class KnownTeacher(NamedTuple):
    """What steps are given of a teacher."""

    params: Params
    digest: str
    """Of the parameters and of what they are parameters of."""


def opened_teacher(
    config: DistillationConfig,
    student: EncoderConfig,
    head: Head,
    tokenizer: Tokenizer,
    lengths: Sequence[int],
) -> Teacher:
    """The teacher for a student with this head, which reads rows of these lengths.

    Raises UserError where it has no such head though it is to answer, or another vocabulary, other
    labels, or too few positions.
    """
    spec = f"distillation.teacher={config.teacher}"
    own = head_of_teacher(config, head)
    wanted: Any = own
    if config.logits_weight and own.kind == "none":
        wanted = pooled(describe(find_model(config.teacher), head="none").head)
    elif config.logits_weight and own.kind == "masked_lm":
        wanted = _masked_lm(spec, config.teacher, own)
    elif config.logits_weight:
        # With the labels and options of its own.
        wanted = own.kind
    opened = open_params(config.teacher, head=wanted)
    if opened.fresh:
        raise UserError(
            f"{spec}: it has no {opened.head.kind} head that was trained ({opened.fresh[0]} is not "
            "there): fine-tune it for this task first"
        )
    check_same_tokens(spec, tokenizer, opened.directory, opened.config.vocab_size)
    check_teacher(config, opened.config, opened.head, student, head, lengths)
    if config.logits_weight:
        check_labels(spec, opened.head, head)
    return Teacher(config, opened.config, opened.head, opened)


def _masked_lm(spec: str, teacher: str, own: Head) -> Head | HeadKind:
    """As the student reads its own: for tokens, or for weights of the vocabulary."""
    if own.splade is None:
        return own.kind
    found = read_splade(find_model(teacher).described)
    if found is None:
        raise UserError(
            f"{spec}: it is a masked LM, and no sparse embedding was learnt: fine-tune it for this "
            "task first"
        )
    return replace(own, splade=found)


def head_of_teacher(config: DistillationConfig, student: Head) -> Head:
    """Which head answers the student's questions; one without parameters where none are asked."""
    if not config.logits_weight:
        return Head(pooling="mean")
    return Head("masked_lm") if student.predicts_tokens else student


def check_teacher(
    config: DistillationConfig,
    teacher: EncoderConfig,
    answering: Head,
    student: EncoderConfig,
    head: Head,
    lengths: Sequence[int],
) -> None:
    """Raises UserError where the architectures do not go together; `answering`: the teacher's."""
    for length in lengths:
        check_length(f"distillation.teacher={config.teacher}: max_seq_length", length, teacher)
    theirs = answering.vector_size(teacher.hidden_size)
    ours = head.vector_size(student.hidden_size)
    if head.kind == "none" and config.logits_weight and theirs != ours:
        raise UserError(
            f"distillation.teacher={config.teacher}: its embeddings have {theirs} components and "
            f"those of the student {ours}: take a teacher or a student of the other's width"
        )
    if config.hidden_states_weight and teacher.hidden_size != student.hidden_size:
        raise UserError(
            f"distillation.hidden_states_weight={config.hidden_states_weight}: hidden states of the"
            f" teacher are {teacher.hidden_size} wide and those of the student "
            f"{student.hidden_size}: set it to 0, or take a student of that width"
        )
    if config.relations_weight:
        _check_relations(config, teacher, student)


def _check_relations(
    config: DistillationConfig, teacher: EncoderConfig, student: EncoderConfig
) -> None:
    layer, layers = config.relation_layer, teacher.num_hidden_layers
    if layer is not None and layer > layers:
        raise UserError(
            f"distillation.relation_layer={layer}: the teacher's last layer is number {layers}"
        )
    heads = config.relation_heads_of(teacher.hidden_size)
    for whose, one in (("teacher", teacher), ("student", student)):
        head_dim = one.hidden_size // one.num_attention_heads
        for what, width in (
            ("queries", one.hidden_size),
            ("keys", one.key_value_heads * head_dim),
        ):
            if width % heads:
                raise UserError(
                    f"distillation.relation_heads={heads}: the {width} features of the {whose}'s "
                    f"{what} do not fall into so many equal parts: give a number that divides "
                    "those of both models"
                )


def reading_for_both(tokenizer: Tokenizer, student: EncoderConfig) -> Tokenizer:
    """The student's tokenizer, telling the two texts of a pair apart though it has no use for it.

    DistilBERT reads no token types, and BERT, its teacher, has never seen a pair without them.
    """
    if student.type_vocab_size > 1:
        return tokenizer
    inputs = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    return Tokenizer(tokenizer.backend, tokenizer.config | inputs)


def check_labels(spec: str, theirs: Head, ours: Head) -> None:
    """Raises UserError where outputs of two heads of one kind do not mean the same."""
    unnamed = tuple(f"LABEL_{number}" for number in range(len(theirs.labels)))
    # A number has one output, whatever it is called.
    is_named = ours.problem_type != "regression" and theirs.labels != unnamed
    is_same = theirs.labels == ours.labels if is_named else len(theirs.labels) == len(ours.labels)
    if ours.has_labels and not is_same:
        raise UserError(
            f"{spec}: its labels are {_shown(theirs.labels)}, those of the task "
            f"{_shown(ours.labels)}: give task.labels in the teacher's order"
        )
    if theirs.problem_type not in (None, ours.problem_type):
        raise UserError(
            f"{spec}: it was trained for {theirs.problem_type}, and this is {ours.problem_type}"
        )


def _shown(labels: tuple[str, ...]) -> str:
    return f"{list(labels[:8])}" + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")


def _stated(value: EncoderConfig | Head) -> dict[str, Any]:
    """What is not the default, so that options which come later change no digest."""
    usual = asdict(type(value)())
    return {name: x for name, x in asdict(value).items() if x != usual[name]}
