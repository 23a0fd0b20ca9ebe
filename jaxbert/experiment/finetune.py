"""Fine-tuning: a model and labelled data in, a run directory out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from jaxbert.data.reading import Reading, WindowConfig, check_reading, usual_length
from jaxbert.data.truncation import Truncation
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import TrainedModel, write_artifacts
from jaxbert.experiment.checks import check_length
from jaxbert.experiment.feature_cache import Interrupted, check_cacheable, frozen_encoder
from jaxbert.experiment.finetuning_data import training_data
from jaxbert.experiment.fit import Fitted, Trainee, fit
from jaxbert.experiment.freezing_advice import freezing_advice
from jaxbert.experiment.parameters import MakeParams, beginning_with, read, reinitialized
from jaxbert.experiment.recipes import check_recipe
from jaxbert.experiment.report import write_report
from jaxbert.experiment.run_directory import check_run, open_run
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.hub.config_file import read_description
from jaxbert.hub.load import Opened, open_params
from jaxbert.hub.save import check_tokenizer
from jaxbert.hub.sentence_modules import load_tokenizer_of
from jaxbert.hub.source import find_model
from jaxbert.nn.dropout_rates import DropoutConfig, with_dropout
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head
from jaxbert.tasks.finetuning import Examples, LabelledTask, TaskConfig, TuningExamples
from jaxbert.tasks.multiple_choice import MultipleChoiceConfig
from jaxbert.tasks.question_answering import QuestionAnsweringConfig
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig, pooled
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.tasks.token_classification import TokenClassificationConfig
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.training.profile import NO_STEPS

TaskSection = (
    SequenceClassificationConfig
    | QuestionAnsweringConfig
    | TokenClassificationConfig
    | MultipleChoiceConfig
    | SentenceEmbeddingConfig
)
"""Every kind of task; `kind` tells them apart."""
BIAS = "classifier/dense/bias"
TASKS: dict[str, type[TaskSection]] = {
    "sequence_classification": SequenceClassificationConfig,
    "question_answering": QuestionAnsweringConfig,
    "token_classification": TokenClassificationConfig,
    "multiple_choice": MultipleChoiceConfig,
    "none": SentenceEmbeddingConfig,
}
"""By the head's kind, which is the task's own but for `none`."""


@dataclass(frozen=True, kw_only=True)
class Finetune(TrainingSettings):
    """A fine-tuning run."""

    kind: Literal["finetune"] = "finetune"
    recipe: str | None = None
    """auto: what is not given here is as the model's paper has it (`experiment/recipe.py`), and
    max_seq_length is auto; a run's config.yaml names the source instead."""
    model: str
    """Model directory, run directory or hub id."""
    task: TaskSection = field(default_factory=SequenceClassificationConfig)
    """What is learnt, by `kind`."""
    train: str
    """CSV, TSV, JSON lines, Parquet, hf:NAME[/CONFIG][:SPLIT], tfds:NAME[/CONFIG][:SPLIT].

    For question answering also SQuAD's JSON, for tagging CoNLL's columns and CoNLL-U."""
    validation: str | dict[str, str] | None = None
    """Evaluated during training; several by name, which goes before the metrics of each."""
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
    """How often training sees every row; 2.5 ends in the middle of the third time."""
    num_steps: Annotated[int, Ge(1)] | None = None
    """Instead of num_epochs."""
    ignore_mismatched_heads: bool = False
    """Start with a new classifier where the model has one for other labels."""
    reinitialize_layers: Annotated[int, Ge(0)] = 0
    """So many of the top layers, and the pooler, begin anew (Zhang et al. 2021)."""
    dropout: DropoutConfig = field(default_factory=DropoutConfig)
    """Rates of this run, where they are not the model's; the exported model keeps its own."""
    cache_features: bool | str = False
    """Of a frozen encoder (optimizer.freeze_layers=all): true: its outputs are computed once, kept
    in RUN/features, and the head is trained on them; or the directory, which runs may share."""

    def __post_init__(self) -> None:
        check_reading(self.truncation, self.head_share, self.windows)
        parts = self.step.accumulation_steps
        if parts > 1 and isinstance(self.task, SentenceEmbeddingConfig) and self.task.is_ranking:
            raise UserError(
                f"step.accumulation_steps={parts}: in-batch negatives would be those of a "
                "microbatch: take 1, and more devices, execution.remat or a smaller batch_size"
            )
        is_tuned = isinstance(self.task, SequenceClassificationConfig) and (
            self.task.threshold == "tuned"
        )
        if is_tuned and len(self.validation_sets) != 1:
            number = len(self.validation_sets) or "none"
            raise UserError(
                f"task.threshold=tuned needs validation data of one set, there is {number}"
            )
        check_recipe(self.recipe)

    @property
    def validation_sets(self) -> dict[str, str]:
        """By name; a single one is called ""."""
        if isinstance(self.validation, dict):
            return self.validation
        return {} if self.validation is None else {"": self.validation}

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
    config = _with_pooling(config)
    if config.recipe == "auto":
        raise UserError(
            "recipe=auto is not filled in: make the configuration with load_finetune or "
            "parse_finetune of jaxbert.experiment.recipe"
        )
    if config.max_seq_length != "auto":
        check_run(run_path, config)
    section: TaskConfig = config.task
    train = tuple(section.read(config.train, labelled=True))
    task = _task(config, train)
    loaded = open_params(
        config.model,
        head=task.head,
        seed=config.seed,
        ignore_mismatched_heads=config.ignore_mismatched_heads,
    )
    tokenizer = load_tokenizer_of(loaded.directory, task.head)
    check_tokenizer(tokenizer, loaded.config)
    config = _with_length(config, task, train, loaded, tokenizer)
    validation = {
        name: tuple(section.read(spec, labelled=True))
        for name, spec in config.validation_sets.items()
    }
    data, examples = training_data(
        task,
        train,
        validation,
        tokenizer,
        config.reading,
        packing=config.packing,
        batch_size=config.batch_size,
        evaluation_batch_size=config.rows_per_evaluation(),
        seed=config.seed,
    )
    make_params = _first_params(config, task, train, loaded)
    if config.recipe is not None:
        advice = freezing_advice(len(train), loaded.config.num_hidden_layers, config)
        data = replace(data, notes=(*data.notes, *advice))
    if config.cache_features:
        check_cacheable(config, task.head, packing=config.packing)
    run = open_run(run_path, config)
    encoder = with_dropout(loaded.config, config.dropout)
    trainee, frozen = Trainee.of(encoder, task.head, make_params), {}
    if config.cache_features:
        directory = run.features if config.cache_features is True else Path(config.cache_features)
        try:
            known = frozen_encoder(
                *(config, encoder, task.head, make_params, data, directory),
                interrupted=interrupted,
                quiet=quiet,
            )
        except Interrupted:
            return Fitted(None, "preempted", 0, {}, {})
        trainee, data, frozen = known.trainee, known.data, {"encoder": known.params}
    fitted = fit(
        run,
        config,
        trainee,
        task,
        data,
        _num_steps(config, data.train.phases[0].rows.num_rows),
        interrupted=interrupted,
        profile=profile,
        quiet=quiet,
    )
    if (params := fitted.params) is not None:
        described = f"{config.train}: {len(train)} rows"
        head, figures = _tuned(task.head, examples, fitted.outputs)
        fitted = replace(fitted, results=fitted.results | figures)
        made = TrainedModel(params | frozen, loaded.config, head)
        write_artifacts(run, fitted.results, {"model": made}, tokenizer, config, described)
        tables = {name: examples[name].tables(rows) for name, rows in fitted.outputs.items()}
        write_report(run, fitted.results, data.notes, tables)
    return fitted


def _with_pooling(config: Finetune) -> Finetune:
    """So that the run's configuration says how its vectors are made."""
    section = config.task
    if not isinstance(section, SentenceEmbeddingConfig) or section.pooling is not None:
        return config
    return replace(config, task=replace(section, pooling=pooled(_own_head(config)).pooling))


def _task(config: Finetune, train: Sequence[Any]) -> LabelledTask:
    section = config.task
    if not isinstance(section, SentenceEmbeddingConfig):
        return section.task(train)
    is_normalized = _own_head(config).is_normalized
    return section.task_of(Head(pooling=section.pooling, is_normalized=is_normalized))


def _own_head(config: Finetune) -> Head:
    """What the model itself makes of its tokens."""
    return read_description(find_model(config.model).directory, head="none").head


def _first_params(
    config: Finetune, task: LabelledTask, train: Sequence[Any], loaded: Opened
) -> MakeParams:
    """Those of the model, and what the configuration begins otherwise."""
    make, section = read(loaded), config.task
    if config.reinitialize_layers:
        make = reinitialized(
            make, loaded.config, task.head, config.reinitialize_layers, config.seed
        )
    if isinstance(section, SequenceClassificationConfig) and BIAS in loaded.fresh:
        assert isinstance(task, SequenceClassification)
        if (bias := section.first_bias(task, train)) is not None:
            make = beginning_with(make, {BIAS: bias})
    return make


def _tuned(
    head: Head, examples: Mapping[str, Examples], outputs: Mapping[str, Any]
) -> tuple[Head, dict[str, float]]:
    """The head as validation data fix it, and `eval_tuned_...`: its metrics."""
    for name, found in examples.items():
        if isinstance(found, TuningExamples) and found.tunes:
            task, metrics = found.tuned(outputs[name])
            return task.head, {f"eval_tuned_{key}": value for key, value in metrics.items()}
    return head, {}


def _with_length(
    config: Finetune,
    task: LabelledTask,
    train: Sequence[Any],
    loaded: Opened,
    tokenizer: Tokenizer,
) -> Finetune:
    """With a max_seq_length that is a number, and fits the model."""
    if config.max_seq_length != "auto":
        check_length("max_seq_length", config.max_seq_length, loaded.config)
        return config
    longest = longest_input(loaded.config)
    whole = task.examples(train, tokenizer, Reading(longest), labelled=False)
    usual = usual_length([len(row) for row in whole.features["input_ids"] if len(row)])
    return replace(config, max_seq_length=min(usual, longest))


def _num_steps(config: Finetune, num_rows: int) -> int:
    if config.num_steps is not None:
        return config.num_steps
    return math.ceil(config.num_epochs * num_rows / config.batch_size)
