"""What a fine-tuning run begins with: records, model, tokenizer, first parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxbert.data.reading import Reading, usual_length
from jaxbert.experiment.checks import (
    check_begun_are_trained,
    check_length,
    check_regularisation,
)
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.parameters import (
    MakeParams,
    beginning_with,
    read,
    reinitialized,
    with_lora,
)
from jaxbert.experiment.validation_share import divided
from jaxbert.hub.config_file import read_splade
from jaxbert.hub.description import describe
from jaxbert.hub.load import Opened, open_params
from jaxbert.hub.save import check_tokenizer
from jaxbert.hub.sentence_modules import load_tokenizer_of
from jaxbert.hub.source import Source, find_model
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout_rates import with_dropout
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import COLBERT, Head, HeadKind, Splade
from jaxbert.tasks.finetuning import LabelledTask, TaskConfig
from jaxbert.tasks.late_interaction import LateInteractionConfig
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig, pooled
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.tasks.sparse_embedding import SparseEmbeddingConfig
from jaxbert.text.markers import with_whole
from jaxbert.text.tokenizer import Tokenizer

BIAS = "classifier/dense/bias"


@dataclass(frozen=True)
class Start:
    """What a run begins with."""

    config: Finetune
    """With a max_seq_length that is a number."""
    task: LabelledTask
    train: tuple[Any, ...]
    """The records."""
    held_out: tuple[Any, ...]
    """Those of the same file that are not trained on."""
    source: Source
    """Of the model."""
    encoder: EncoderConfig
    """As the model has it."""
    tokenizer: Tokenizer


def started(config: Finetune) -> Start:
    """Reads the records to train on, and what the model's directory says of it."""
    section: TaskConfig = config.task
    train: tuple[Any, ...] = tuple(section.read(config.train, labelled=True))
    held_out: tuple[Any, ...] = ()
    if config.validation_fraction:
        train, held_out = divided(train, config.validation_fraction, _kept_together(section))
    task = _task(config, train)
    source = find_model(config.model)
    encoder = describe(source, head=task.head).config
    tokenizer = load_tokenizer_of(source.directory, task.head)
    if isinstance(section, LateInteractionConfig):
        prompts = section.sides.prompts
        tokenizer = with_whole(tokenizer, (prompts.query, prompts.document))
    check_tokenizer(tokenizer, encoder)
    check_regularisation(config, task, with_dropout(encoder, config.dropout))
    config = _with_length(config, task, train, encoder, tokenizer)
    return Start(config, task, train, held_out, source, encoder, tokenizer)


def opened(start: Start) -> Opened:
    """The model to begin with, whose weights are not read yet."""
    return open_params(
        start.config.model,
        head=start.task.head,
        seed=start.config.seed,
        ignore_mismatched_heads=start.config.ignore_mismatched_heads,
    )


def first_params(
    config: Finetune, task: LabelledTask, train: Sequence[Any], loaded: Opened
) -> MakeParams:
    """Those of the model, and what the configuration begins otherwise."""
    make, section = read(loaded), config.task
    if count := config.reinitialize_layers:
        check_begun_are_trained(count, config, loaded.config, task.head)
        make = reinitialized(make, loaded.config, task.head, count, config.seed)
    if isinstance(section, SequenceClassificationConfig) and BIAS in loaded.fresh:
        assert isinstance(task, SequenceClassification)
        if (bias := section.first_bias(task, train)) is not None:
            make = beginning_with(make, {BIAS: bias})
    return make if config.lora is None else with_lora(make, config.lora, config.seed)


def with_pooling(config: Finetune) -> Finetune:
    """So that the run's configuration says how its vectors are made."""
    section = config.task
    if isinstance(section, SparseEmbeddingConfig):
        own = _splade_of(config)
        pooling, activation = section.pooling or own.pooling, section.activation or own.activation
        return replace(config, task=replace(section, pooling=pooling, activation=activation))
    if isinstance(section, LateInteractionConfig) and section.dimensions is None:
        dense = _own_head(config, "late_interaction").dense
        width = None if dense is None else dense.dimensions
        return replace(config, task=replace(section, dimensions=width))
    if not isinstance(section, SentenceEmbeddingConfig) or section.pooling is not None:
        return config
    return replace(config, task=replace(section, pooling=pooled(_own_head(config)).pooling))


def _kept_together(section: Any) -> tuple[str, ...]:
    """The columns in which rows are equal that are all trained on or all held out."""
    if isinstance(section, SequenceClassificationConfig) and section.ranking:
        # Of a query with half of its candidates ranks would be those of another ranking.
        return (section.columns.text,)
    inputs: tuple[str, ...] = section.columns.inputs
    return inputs


def _task(config: Finetune, train: Sequence[Any]) -> LabelledTask:
    section = config.task
    if isinstance(section, LateInteractionConfig):
        head = _own_head(config, "late_interaction")
        if section.dimensions is not None:
            dense = replace(head.dense or COLBERT, dimensions=section.dimensions)
            head = replace(head, dense=dense)
        return section.task_of(head)
    if not isinstance(section, SentenceEmbeddingConfig):
        return section.task(train)
    own = _own_head(config)
    head = Head(pooling=section.pooling, dense=own.dense, is_normalized=own.is_normalized)
    return section.task_of(head)


def _own_head(config: Finetune, kind: HeadKind = "none") -> Head:
    """What the model itself makes of its tokens."""
    return describe(find_model(config.model), head=kind).head


def _splade_of(config: Finetune) -> Splade:
    """How the model makes weights of its logits, or would."""
    return read_splade(find_model(config.model).described) or Splade()


def _with_length(
    config: Finetune,
    task: LabelledTask,
    train: Sequence[Any],
    encoder: EncoderConfig,
    tokenizer: Tokenizer,
) -> Finetune:
    """With a max_seq_length that is a number, and fits the model."""
    if config.max_seq_length != "auto":
        check_length("max_seq_length", config.max_seq_length, encoder)
        return config
    longest = longest_input(encoder)
    # Without labels an embedding's examples would be their first texts, which are the shorter ones.
    whole = task.examples(train, tokenizer, Reading(longest), labelled=True)
    usual = usual_length([len(row) for row in whole.features["input_ids"] if len(row)])
    return replace(config, max_seq_length=min(usual, longest))
