"""Fine-tuning: a model and a labelled table in, a run directory out."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from jaxbert.data.rows import LabelledRows, static_length
from jaxbert.data.stream import Phase, Stream
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import TrainedModel, write_artifacts
from jaxbert.experiment.checks import check_length
from jaxbert.experiment.fit import Data, Fitted, Trainee, fit
from jaxbert.experiment.run_directory import check_run, open_run
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.hub.load import Pretrained, load_params
from jaxbert.hub.save import check_tokenizer
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
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer


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
    max_seq_length: Annotated[int, Ge(3)] = 128
    """Longer inputs are cut; shorter data make shorter batches."""
    num_epochs: Annotated[float, Gt(0)] = 3.0
    num_steps: Annotated[int, Ge(1)] | None = None
    """Instead of num_epochs."""
    ignore_mismatched_heads: bool = False
    """Start with a new classifier where the model has one for other labels."""


def finetune(
    config: Finetune,
    run_path: str | Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues fine-tuning in a run directory."""
    check_run(run_path, config)
    train = read_sentences(config.train, config.task.columns, labelled=True)
    task = _task(config, train)
    loaded = load_params(
        config.model,
        head=task.head,
        seed=config.seed,
        ignore_mismatched_heads=config.ignore_mismatched_heads,
    )
    tokenizer = load_tokenizer(loaded.directory)
    check_tokenizer(tokenizer, loaded.config)
    data = _data(config, task, train, loaded, tokenizer)
    run = open_run(run_path, config)
    fitted = fit(
        run,
        config,
        Trainee.of(loaded.config, task.head, lambda: loaded.params),
        task,
        data,
        _num_steps(config, len(train.rows)),
        interrupted=interrupted,
        quiet=quiet,
    )
    if fitted.outcome != "preempted":
        described = f"{config.train}: {len(train.rows)} rows"
        made = TrainedModel(fitted.params, loaded.config, task.head)
        write_artifacts(run, fitted.results, {"model": made}, tokenizer, config, described)
    return fitted


def labelled_features(
    sentences: Sentences, task: SequenceClassification, tokenizer: Tokenizer, max_seq_length: int
) -> dict[str, Any]:
    """Token features with `labels` as the task wants them."""
    labels = (
        label_values(sentences) if task.is_regression else class_indices(sentences, task.labels)
    )
    return {**token_features(tokenizer, sentences, max_seq_length), "labels": labels}


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


def _data(
    config: Finetune,
    task: SequenceClassification,
    train: Sentences,
    loaded: Pretrained,
    tokenizer: Tokenizer,
) -> Data:
    check_length("max_seq_length", config.max_seq_length, loaded.config)

    def rows_of(sentences: Sentences) -> tuple[LabelledRows, str]:
        features = labelled_features(sentences, task, tokenizer, config.max_seq_length)
        length = static_length([len(row) for row in features["input_ids"]], config.max_seq_length)
        rows = LabelledRows(features, seed=config.seed, pad_id=tokenizer.pad_id, length=length)
        return rows, _fingerprint(features)

    training, fingerprint = rows_of(train)
    stream = Stream([Phase(training, config.batch_size)])
    if config.validation is None:
        return Data(stream, None, fingerprint)
    held_out = read_sentences(config.validation, config.task.columns, labelled=True)
    evaluation, evaluated = rows_of(held_out)
    return Data(stream, evaluation, f"{fingerprint} {evaluated}")


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
