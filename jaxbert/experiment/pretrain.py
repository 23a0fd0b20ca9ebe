"""Pretraining: a token store in, a run directory out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from jax.sharding import Mesh

from jaxbert.config import parse_config
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import Exports, write_artifacts
from jaxbert.experiment.checks import check_vocabulary
from jaxbert.experiment.extension import AHEAD, Steps, check_steps_taken
from jaxbert.experiment.fit import Fitted, check_fit, fit
from jaxbert.experiment.held_out import Evaluation
from jaxbert.experiment.objectives import (
    MaskedLMConfig,
    Objective,
    ReplacedTokenConfig,
    check_objective,
    masked_lm_of,
    opened_generator,
    pair_of,
    trained_models,
    trainee_of,
)
from jaxbert.experiment.parameters import drawn, read
from jaxbert.experiment.pretraining_data import (
    DataPhase,
    PhaseConfig,
    StoreConfig,
    Stores,
    check_weights,
    data_fingerprints,
    data_phases,
    evaluation_sets,
    open_stores,
    open_validation,
    training_stream,
)
from jaxbert.experiment.pretraining_model import (
    ModelConfig,
    Vocabulary,
    check_encoders,
    encoder_of,
    note_of_own,
)
from jaxbert.experiment.restoring import check_data
from jaxbert.experiment.run_directory import check_run, check_same_data, open_run
from jaxbert.experiment.run_files import RunDirectory, read_run_config, steps_taken
from jaxbert.experiment.settings import TrainingSettings, named_sets
from jaxbert.experiment.teacher import Teacher, opened_teacher
from jaxbert.experiment.trainee import Data, Trainee
from jaxbert.hub.load import Opened, open_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.replaced_token_pair import DISCRIMINATOR, ReplacedTokenPair
from jaxbert.tasks.replaced_tokens import ReplacedTokenDetection
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer
from jaxbert.training.profile import NO_STEPS
from jaxbert.typing import Params


@dataclass(frozen=True, kw_only=True)
class Pretrain(TrainingSettings):
    """A pretraining run."""

    kind: Literal["pretrain"] = "pretrain"
    store: StoreConfig
    """Token store made by `jaxbert prepare`, or several: `[{path: ..., weight: ...}, ...]`."""
    validation: str | dict[str, str] | None = None
    """Token store that is evaluated whole during training, beside what data.validation_fraction
    holds out or instead of it; several by name, which goes before the metrics of each."""
    model: ModelConfig
    data: PretrainingDataConfig = field(default_factory=PretrainingDataConfig)
    num_steps: Annotated[int, Ge(1)]
    """Updates, those of all phases together."""
    phases: tuple[PhaseConfig, ...] = ()
    """Later lengths, batch sizes and mixtures, such as the 512 of BERT's last 10 %."""
    objective: Objective = field(default_factory=MaskedLMConfig)
    """What is learnt, by `kind`."""

    def __post_init__(self) -> None:
        goes_on = self.model.from_pretrained is not None
        check_objective(self.objective, self.data.sentence_pairs, goes_on=goes_on)
        if self.distillation is not None and isinstance(self.objective, ReplacedTokenConfig):
            raise UserError(
                f"distillation: {self.objective.kind} has no labels that a teacher could answer: "
                "take objective.kind=masked_lm"
            )
        check_weights(self.store, self.phases)
        if self.data.validation_fraction and "" in self.validation_sets:
            raise UserError(
                "validation: what data.validation_fraction holds out is evaluated too, and has no "
                f"name: give the store one, validation='{{NAME: {self.validation_sets['']}}}'"
            )

    @property
    def validation_sets(self) -> dict[str, str]:
        """Stores by name; a single one is called ""."""
        return named_sets(self.validation)

    @property
    def validation_names(self) -> tuple[str, ...]:
        """Of all sets that are evaluated; that of what is held out of the stores is ""."""
        return (*([""] if self.data.validation_fraction else []), *self.validation_sets)


def pretrain(
    config: Pretrain,
    run_path: str | Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    profile: range = NO_STEPS,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues pretraining in a run directory.

    A run may be continued with another `num_steps`, `schedule` or `phases` under which the steps
    that it has taken would have been the same.
    """
    began = time.perf_counter()
    prepared = _prepared(config, run_path)
    job = prepared.job
    with open_run(run_path, config, AHEAD, prepared.check_past) as run:
        fitted = fit(
            run,
            config,
            prepared.trainee,
            job.task,
            prepared.data,
            config.num_steps,
            began=began,
            interrupted=interrupted,
            profile=profile,
            quiet=quiet,
        )
        if fitted.params is not None:
            sources = prepared.stores, prepared.tokenizer
            made = _exports(config, job.trainee.encoders, *sources, fitted.params)
            write_artifacts(run, fitted.results, made, config)
    return fitted


def check_pretraining(
    runs: Sequence[tuple[Pretrain, Path]], ended: Sequence[tuple[Pretrain, Path]] = ()
) -> None:
    """Raises UserError where `pretrain` would refuse one of some runs before it reads a weight.

    Also where one that has `ended` had other data than it would be given now.
    """
    for config, path in runs:
        prepared = _prepared(config, path)
        task, data = prepared.job.task, prepared.data
        check_fit(config, prepared.trainee, task, data, config.num_steps)
        alike = (at for other, at in ended if _what_is_read(other) == _what_is_read(config))
        for place in (path, *alike):
            check_same_data(place, data.fingerprints)


def _what_is_read(config: Pretrain) -> tuple[Any, ...]:
    return config.store, config.validation, config.data


def _prepared(config: Pretrain, run_path: str | Path) -> "_Prepared":
    check_run(run_path, config, AHEAD)
    check_past = partial(_check_steps_taken, Path(run_path), config)
    check_past()
    stores = open_stores(config.store)
    validation = open_validation(config.validation_sets, stores)
    tokenizer = load_tokenizer(stores.first.tokenizer_directory)
    job = _job(config, Vocabulary(stores.first, tokenizer))
    phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    check_encoders(job.trainee.encoders, [phase.data for phase in phases])
    trainee = replace(job.trainee, teacher=_teacher(config, job, tokenizer, phases))
    evaluated = evaluation_sets(stores, validation, phases[-1].data)
    data = Data(
        train=training_stream(stores, phases, config.seed),
        held_out={name: Evaluation(rows, job.task.metrics) for name, rows in evaluated.items()},
        fingerprints=data_fingerprints(stores, validation, config.data),
        notes=note_of_own(trainee.encoders),
    )
    return _Prepared(stores, tokenizer, job, trainee, data, check_past)


def exporter(
    run: RunDirectory, config: Pretrain, saved_run: Mapping[str, Any], step: int
) -> Callable[[Params], Exports]:
    """Parameters of a checkpoint -> what the run exports of them.

    `saved_run`: what the checkpoint says of the run. The architecture is in it, so that a model
    that the run began with need not be there; the store must, for its tokenizer, and what the run
    was validated on. Raises UserError where one is not, or is another one.
    """
    stores = open_stores(config.store)
    validation = open_validation(config.validation_sets, stores)
    check_data(run, data_fingerprints(stores, validation, config.data), saved_run, step)
    tokenizer = load_tokenizer(stores.first.tokenizer_directory)
    origin = f"the checkpoint of step {step}"
    saved = saved_run["architecture"]
    encoders = [parse_config(EncoderConfig, values, origin=origin) for values in saved]
    return partial(_exports, config, encoders, stores, tokenizer)


def _exports(
    config: Pretrain,
    encoders: Sequence[EncoderConfig],
    stores: Stores,
    tokenizer: Tokenizer,
    params: Params,
) -> Exports:
    models = trained_models(config.objective, config.data.sentence_pairs, encoders, params)
    return Exports(models, tokenizer, stores.described)


def _check_steps_taken(run: Path, config: Pretrain) -> None:
    taken, values = steps_taken(run), read_run_config(run)
    if taken and values is not None:
        before = parse_config(Pretrain, values, origin=str(run / "config.yaml"))
        check_steps_taken(run, taken, _steps(before), _steps(config))


def _steps(config: Pretrain) -> Steps:
    phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    rate, metric = config.optimizer.learning_rate, config.checkpoint.metric
    return Steps(config.num_steps, phases, config.schedule, rate, metric)


@dataclass(frozen=True)
class _Job:
    """What an objective makes of a configuration."""

    task: MaskedLanguageModelling | ReplacedTokenDetection
    trainee: Trainee


@dataclass(frozen=True)
class _Prepared:
    """What is known of a run before there is a directory, or a weight is read."""

    stores: Stores
    tokenizer: Tokenizer
    job: _Job
    trainee: Trainee
    """With its teacher."""
    data: Data
    check_past: Callable[[], None]
    """Raises UserError where the run has taken steps that would not have been the same."""


def _job(config: Pretrain, vocabulary: Vocabulary) -> _Job:
    if isinstance(config.objective, ReplacedTokenConfig):
        return _replaced_tokens(config, config.objective, vocabulary)
    head = MaskedLanguageModelling(config.data.sentence_pairs).head
    loaded = _opened(config, head)
    encoder = _encoder(config, loaded, vocabulary)
    task = masked_lm_of(encoder, config.data.sentence_pairs)
    fresh = drawn(init_params, encoder, head, seed=config.seed)
    return _Job(task, Trainee.of(encoder, head, fresh if loaded is None else read(loaded)))


def _teacher(
    config: Pretrain, job: _Job, tokenizer: Tokenizer, phases: Sequence[DataPhase]
) -> Teacher | None:
    if config.distillation is None:
        return None
    [student], lengths = job.trainee.encoders, [phase.data.max_seq_length for phase in phases]
    return opened_teacher(config.distillation, student, job.task.head, tokenizer, lengths)


def _replaced_tokens(
    config: Pretrain, objective: ReplacedTokenConfig, vocabulary: Vocabulary
) -> _Job:
    loaded = _opened(config, DISCRIMINATOR)
    encoder = _encoder(config, loaded, vocabulary)
    pair = pair_of(objective, encoder)
    if loaded is None:
        make_params = drawn(ReplacedTokenPair.init, pair, seed=config.seed)
    else:
        models = read(opened_generator(objective)), read(loaded)

        def make_params(mesh: Mesh) -> Params:
            return pair.joined(*(make(mesh) for make in models))

    tokenizer = vocabulary.tokenizer
    special_ids = tuple(sorted({tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}))
    return _Job(
        ReplacedTokenDetection(special_ids, objective.discriminator_weight),
        trainee_of(pair, make_params),
    )


def _opened(config: Pretrain, head: Head) -> Opened | None:
    """The model to go on from, where there is one."""
    name = config.model.from_pretrained
    return None if name is None else open_params(name, head=head, seed=config.seed)


def _encoder(config: Pretrain, loaded: Opened | None, vocabulary: Vocabulary) -> EncoderConfig:
    if loaded is None:
        return encoder_of(config.model, None, vocabulary)
    encoder = encoder_of(config.model, loaded.config, vocabulary)
    store, tokenizer = vocabulary.store.path, vocabulary.tokenizer
    check_vocabulary(store, tokenizer, loaded.directory, encoder.vocab_size)
    return encoder
