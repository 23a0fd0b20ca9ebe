"""Pretraining: a token store in, a run directory out."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from jax.sharding import Mesh

from jaxbert.config import nearest, parse_config
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import TrainedModel, write_artifacts
from jaxbert.experiment.checks import check_length, check_vocabulary
from jaxbert.experiment.fit import Data, Fitted, Trainee, fit
from jaxbert.experiment.held_out import Evaluation
from jaxbert.experiment.objectives import (
    MaskedLMConfig,
    Objective,
    ReplacedTokenConfig,
    opened_generator,
    pair_of,
    trained_models,
    trainee_of,
)
from jaxbert.experiment.parameters import drawn, read
from jaxbert.experiment.pretraining_data import (
    PhaseConfig,
    StoreConfig,
    data_fingerprints,
    data_phases,
    evaluation_rows,
    open_stores,
    training_stream,
)
from jaxbert.experiment.run_directory import check_run, open_run
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.families import family_of, preset
from jaxbert.hub.load import Opened, open_params
from jaxbert.hub.save import check_config, check_tokenizer
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.replaced_token_pair import DISCRIMINATOR, ReplacedTokenPair
from jaxbert.tasks.replaced_tokens import ReplacedTokenDetection
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer
from jaxbert.training.profile import NO_STEPS
from jaxbert.typing import Params


@dataclass(frozen=True)
class ModelConfig:
    """What is trained: a published size, changed where asked, or an existing model."""

    preset: str | None = None
    """e.g. `bert-base-uncased`; its vocabulary size gives way to the store's."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of the architecture that differ from the preset, e.g. `hidden_size: 128`."""
    from_pretrained: str | None = None
    """Directory or hub id of a model to go on from, instead of a preset."""

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.from_pretrained is None):
            raise UserError("model: give either preset or from_pretrained")
        if self.from_pretrained is not None and self.overrides:
            raise UserError("model.overrides change a preset, not an existing model")
        names = [option.name for option in dataclasses.fields(EncoderConfig)]
        for name in self.overrides:
            if name not in names:
                raise UserError(f"model.overrides: unknown key {name!r}: {nearest(name, names)}")


@dataclass(frozen=True, kw_only=True)
class Pretrain(TrainingSettings):
    """A pretraining run."""

    kind: Literal["pretrain"] = "pretrain"
    store: StoreConfig
    """Token store made by `jaxbert prepare`, or several: `[{path: ..., weight: ...}, ...]`."""
    model: ModelConfig
    data: PretrainingDataConfig = field(default_factory=PretrainingDataConfig)
    num_steps: Annotated[int, Ge(1)]
    """Updates, those of all phases together."""
    phases: tuple[PhaseConfig, ...] = ()
    """Later lengths and batch sizes, such as the 512 of BERT's last 10 %."""
    objective: Objective = field(default_factory=MaskedLMConfig)
    """What is learnt, by `kind`."""


def pretrain(
    config: Pretrain,
    run_path: str | Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    profile: range = NO_STEPS,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues pretraining in a run directory."""
    check_run(run_path, config)
    stores = open_stores(config.store)
    tokenizer = load_tokenizer(stores.first.tokenizer_directory)
    job = _job(config, stores.first, tokenizer)
    for encoder in job.trainee.encoders:
        check_config(encoder, Head())
    check_tokenizer(tokenizer, job.encoder)
    phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    for _, _, phase in phases:
        check_length("max_seq_length", phase.max_seq_length, job.encoder)
    evaluated = phases[-1][2]
    held_out = {}
    if evaluated.validation_fraction:
        held_out[""] = Evaluation(evaluation_rows(stores, evaluated), job.task.metrics)
    data = Data(
        train=training_stream(stores, phases, config.seed),
        held_out=held_out,
        fingerprints=data_fingerprints(stores, config.data),
    )
    run = open_run(run_path, config)
    fitted = fit(
        run,
        config,
        job.trainee,
        job.task,
        data,
        config.num_steps,
        interrupted=interrupted,
        profile=profile,
        quiet=quiet,
    )
    if fitted.params is not None:
        models = job.models(fitted.params)
        write_artifacts(run, fitted.results, models, tokenizer, config, stores.described)
    return fitted


@dataclass(frozen=True)
class _Job:
    """What an objective makes of a configuration."""

    encoder: EncoderConfig
    task: MaskedLanguageModelling | ReplacedTokenDetection
    trainee: Trainee
    models: Callable[[Params], dict[str, TrainedModel]]
    """The trained parameters -> what is exported, by directory."""


def _job(config: Pretrain, store: TokenStore, tokenizer: Tokenizer) -> _Job:
    if isinstance(config.objective, ReplacedTokenConfig):
        return _replaced_tokens(config, config.objective, store, tokenizer)
    task = MaskedLanguageModelling(config.data.sentence_pairs)
    head, name = task.head, config.model.from_pretrained
    loaded = None if name is None else open_params(name, head=head, seed=config.seed)
    encoder = _encoder(config, store, tokenizer, loaded)
    if family_of(encoder.model_type).architecture(head.kind) is None:
        raise UserError(
            f"data.sentence_pairs={config.data.sentence_pairs}: {encoder.model_type} has no head "
            "for sentence pairs: set data.sentence_pairs=none"
        )
    fresh = drawn(init_params, encoder, head, seed=config.seed)
    return _Job(
        encoder,
        task,
        Trainee.of(encoder, head, fresh if loaded is None else read(loaded)),
        lambda params: {"model": TrainedModel(params, encoder, head)},
    )


def _replaced_tokens(
    config: Pretrain, objective: ReplacedTokenConfig, store: TokenStore, tokenizer: Tokenizer
) -> _Job:
    name = config.model.from_pretrained
    loaded = None if name is None else open_params(name, head=DISCRIMINATOR, seed=config.seed)
    encoder = _encoder(config, store, tokenizer, loaded)
    pair = pair_of(objective, encoder)
    if config.data.sentence_pairs != "none":
        raise UserError(
            f"data.sentence_pairs={config.data.sentence_pairs}: {objective.kind} learns nothing "
            "of sentence pairs: set data.sentence_pairs=none"
        )

    if loaded is None:
        make_params = drawn(ReplacedTokenPair.init, pair, seed=config.seed)
    else:
        models = read(opened_generator(objective)), read(loaded)

        def make_params(mesh: Mesh) -> Params:
            return pair.joined(*(make(mesh) for make in models))

    special_ids = tuple(sorted({tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}))
    return _Job(
        encoder,
        ReplacedTokenDetection(special_ids, objective.discriminator_weight),
        trainee_of(pair, make_params),
        lambda params: trained_models(pair, params),
    )


def _encoder(
    config: Pretrain, store: TokenStore, tokenizer: Tokenizer, loaded: Opened | None
) -> EncoderConfig:
    """That of the loaded model, or the preset with its overrides and the store's vocabulary."""
    if loaded is not None:
        encoder, origin = loaded.config, config.model.from_pretrained
    else:
        assert config.model.preset is not None
        given = {"vocab_size": store.vocab_size, "pad_token_id": tokenizer.pad_id}
        values = dataclasses.asdict(preset(config.model.preset)) | given | config.model.overrides
        encoder = parse_config(EncoderConfig, values, origin="model.overrides")
        origin = "model.overrides"
    if encoder.vocab_size != store.vocab_size:
        raise UserError(
            f"{origin}: a vocabulary of {encoder.vocab_size}, {store.path} was made with one of "
            f"{store.vocab_size}: prepare the store with the model's tokenizer"
        )
    if loaded is not None:
        check_vocabulary(store.path, tokenizer, loaded.directory)
    return encoder
