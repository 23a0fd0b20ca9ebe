"""Fine-tuning: a model and a labelled table in, a run directory out."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from jaxbert.data.buckets import BucketedRows
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.reading import Reading, WindowConfig, check_reading, usual_length
from jaxbert.data.rows import LabelledRows, static_length
from jaxbert.data.stream import Phase, Stream
from jaxbert.data.truncation import Truncation
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import TrainedModel, write_artifacts
from jaxbert.experiment.checks import check_length
from jaxbert.experiment.fit import Data, Fitted, Trainee, fit
from jaxbert.experiment.parameters import read
from jaxbert.experiment.run_directory import check_run, open_run
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.hub.load import Opened, open_params
from jaxbert.hub.save import check_tokenizer
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import LayerMixture, Pooling
from jaxbert.tasks.sentences import (
    SentenceColumns,
    Sentences,
    class_indices,
    label_names,
    label_values,
    read_sentences,
    token_features,
)
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.task import Task
from jaxbert.tasks.windowed import WindowedClassification
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer
from jaxbert.training.profile import NO_STEPS


@dataclass(frozen=True)
class SequenceClassificationConfig:
    """One label per sentence or sentence pair."""

    kind: Literal["sequence_classification"] = "sequence_classification"
    columns: SentenceColumns = field(default_factory=SentenceColumns)
    labels: tuple[str, ...] | None = None
    """Names of the classes in order; null: those of the training data."""
    regression: bool = False
    """Labels are numbers; the loss is the squared error."""
    classifier_dropout: float | None = None
    """null: the model's hidden_dropout_prob."""
    pooling: Pooling | None = None
    """How one vector comes from the tokens; null: as the model's family does it."""
    mixture: LayerMixture | None = None
    """Which layers the classifier reads; null: the last one."""

    def __post_init__(self) -> None:
        if self.regression and self.labels is not None:
            raise UserError("labels name classes, and regression has none: give one of the two")


@dataclass(frozen=True, kw_only=True)
class Finetune(TrainingSettings):
    """A fine-tuning run."""

    kind: Literal["finetune"] = "finetune"
    model: str
    """Model directory, run directory or hub id."""
    task: SequenceClassificationConfig = field(default_factory=SequenceClassificationConfig)
    train: str
    """CSV, TSV, JSON lines, Parquet, hf:NAME[/CONFIG][:SPLIT], tfds:NAME[/CONFIG][:SPLIT]."""
    validation: str | None = None
    max_seq_length: Annotated[int, Ge(3)] | Literal["auto"] = 128
    """Shorter data make shorter batches; auto: what 95 % of the training examples do not exceed."""
    packing: bool = False
    """Several examples in every row of max_seq_length tokens; `batch_size` counts rows."""
    truncation: Truncation = "head"
    """What is read of a longer text."""
    head_share: float = 0.25
    """Of what truncation=head_tail keeps."""
    windows: WindowConfig | None = None
    """Instead of truncation: longer texts are read in windows, and count as much as others."""
    num_epochs: Annotated[float, Gt(0)] = 3.0
    num_steps: Annotated[int, Ge(1)] | None = None
    """Instead of num_epochs."""
    ignore_mismatched_heads: bool = False
    """Start with a new classifier where the model has one for other labels."""

    def __post_init__(self) -> None:
        check_reading(self.truncation, self.head_share, self.windows)

    @property
    def reading(self) -> Reading:
        """What is read of every text, once max_seq_length is known."""
        assert self.max_seq_length != "auto"
        return Reading(self.max_seq_length, self.truncation, self.head_share, self.windows)


def finetune(
    config: Finetune,
    run_path: str | Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    profile: range = NO_STEPS,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues fine-tuning in a run directory."""
    if config.max_seq_length != "auto":
        check_run(run_path, config)
    train = read_sentences(config.train, config.task.columns, labelled=True)
    task = _task(config, train)
    loaded = open_params(
        config.model,
        head=task.head,
        seed=config.seed,
        ignore_mismatched_heads=config.ignore_mismatched_heads,
    )
    tokenizer = load_tokenizer(loaded.directory)
    check_tokenizer(tokenizer, loaded.config)
    config = _with_length(config, train, loaded, tokenizer)
    data = _data(config, task, train, tokenizer)
    run = open_run(run_path, config)
    fitted = fit(
        run,
        config,
        Trainee.of(loaded.config, task.head, read(loaded)),
        per_text(task, config.windows),
        data,
        _num_steps(config, data.train.phases[0].rows.num_rows),
        interrupted=interrupted,
        profile=profile,
        quiet=quiet,
    )
    if fitted.params is not None:
        described = f"{config.train}: {len(train.rows)} rows"
        made = TrainedModel(fitted.params, loaded.config, task.head)
        write_artifacts(run, fitted.results, {"model": made}, tokenizer, config, described)
    return fitted


def labelled_features(
    sentences: Sentences, task: SequenceClassification, tokenizer: Tokenizer, reading: Reading
) -> dict[str, Any]:
    """Token features with `labels` as the task wants them."""
    labels = (
        label_values(sentences) if task.is_regression else class_indices(sentences, task.labels)
    )
    features = token_features(tokenizer, sentences, reading)
    if reading.windows is not None:
        labels = labels[features["document_ids"]]
    return {**features, "labels": labels}


def per_text(task: SequenceClassification, windows: WindowConfig | None) -> Task:
    """The task where texts may have several windows, or else the task itself."""
    return task if windows is None else WindowedClassification(task, windows.combine)


def _task(config: Finetune, train: Sentences) -> SequenceClassification:
    if config.task.regression:
        labels: tuple[str, ...] = ("LABEL_0",)
    else:
        labels = config.task.labels or label_names(train)
        if len(labels) < 2:
            raise UserError(f"{config.train}: only one class, {labels[0]!r}: nothing to tell apart")
    return SequenceClassification(
        labels,
        config.task.regression,
        config.task.classifier_dropout,
        config.task.pooling,
        config.task.mixture,
    )


def _with_length(
    config: Finetune, train: Sentences, loaded: Opened, tokenizer: Tokenizer
) -> Finetune:
    """With a max_seq_length that is a number, and fits the model."""
    if config.max_seq_length != "auto":
        check_length("max_seq_length", config.max_seq_length, loaded.config)
        return config
    longest = longest_input(loaded.config)
    features = token_features(tokenizer, train, Reading(longest))
    usual = usual_length([len(row) for row in features["input_ids"]])
    return replace(config, max_seq_length=min(usual, longest))


def _data(
    config: Finetune, task: SequenceClassification, train: Sentences, tokenizer: Tokenizer
) -> Data:
    length = config.reading.max_seq_length
    features = labelled_features(train, task, tokenizer, config.reading)
    examples = EncodedExamples(features, pad_id=tokenizer.pad_id)
    fingerprint = _fingerprint(features)
    rows: LabelledRows | PackedLabelledRows
    if config.packing:
        rows = PackedLabelledRows(examples, seed=config.seed, length=length)
    else:
        width = static_length(examples.lengths, length)
        rows = LabelledRows(examples, seed=config.seed, length=width)
    stream = Stream([Phase(rows, config.batch_size)])
    notes = [f"training: {_described(rows)}"]
    if config.validation is None:
        return Data(stream, None, fingerprint, tuple(notes))
    held_out = read_sentences(config.validation, config.task.columns, labelled=True)
    features = labelled_features(held_out, task, tokenizer, config.reading)
    examples = EncodedExamples(features, pad_id=tokenizer.pad_id)
    evaluation: BucketedRows | PackedLabelledRows
    if config.packing:
        evaluation = PackedLabelledRows(examples, seed=config.seed, length=length)
    else:
        batch_size = config.rows_per_evaluation()
        evaluation = BucketedRows(examples, batch_size=batch_size, longest=length)
    notes.append(f"evaluation: {_described(evaluation)}")
    return Data(stream, evaluation, f"{fingerprint} {_fingerprint(features)}", tuple(notes))


def _described(rows: LabelledRows | PackedLabelledRows | BucketedRows) -> str:
    lengths = rows.lengths.tolist() if isinstance(rows, BucketedRows) else [rows.length]
    widths = ", ".join(map(str, lengths))
    return f"{len(rows.examples):,} examples in rows of {widths} tokens, {rows.padding:.0%} padding"


def _num_steps(config: Finetune, num_rows: int) -> int:
    if config.num_steps is not None:
        return config.num_steps
    return math.ceil(config.num_epochs * num_rows / config.batch_size)


def _fingerprint(features: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(features):
        for row in features[name]:
            digest.update(np.asarray(row).tobytes())
    return digest.hexdigest()[:16]
