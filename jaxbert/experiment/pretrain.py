"""Pretraining: a token store in, a run directory out."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from jaxbert.config import nearest, parse_config
from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import write_artifacts
from jaxbert.experiment.fit import Data, Fitted, fit
from jaxbert.experiment.run_directory import check_run, open_run
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.families import preset
from jaxbert.hub.load import load_params
from jaxbert.hub.save import check_tokenizer
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.text.tokenizer import load_tokenizer
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
    store: str
    """Token store made by `jaxbert prepare`."""
    model: ModelConfig
    data: PretrainingDataConfig = field(default_factory=PretrainingDataConfig)
    num_steps: Annotated[int, Ge(1)]


def pretrain(
    config: Pretrain,
    run_path: str | Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues pretraining in a run directory."""
    check_run(run_path, config)
    store = TokenStore.open(config.store)
    tokenizer = load_tokenizer(store.tokenizer_directory)
    task = MaskedLanguageModelling(config.data.next_sentence_prediction)
    encoder, make_params = _model(config, store, task)
    check_tokenizer(tokenizer, encoder)
    if config.data.max_seq_length > encoder.max_position_embeddings:
        raise UserError(
            f"data.max_seq_length={config.data.max_seq_length} exceeds the model's "
            f"max_position_embeddings={encoder.max_position_embeddings}"
        )
    data = _data(config, store)
    run = open_run(run_path, config)
    fitted = fit(
        run,
        config,
        encoder,
        task,
        make_params,
        data,
        config.num_steps,
        interrupted=interrupted,
        quiet=quiet,
    )
    if fitted.outcome != "preempted":
        described = f"{store.num_documents} documents, {store.num_tokens} tokens"
        write_artifacts(
            run,
            fitted,
            encoder,
            task.head,
            tokenizer,
            config,
            f"{config.store}: {described}",
        )
    return fitted


def _model(
    config: Pretrain, store: TokenStore, task: MaskedLanguageModelling
) -> tuple[EncoderConfig, Callable[[], Params]]:
    if config.model.from_pretrained is not None:
        loaded = load_params(config.model.from_pretrained, head=task.head, seed=config.seed)
        if loaded.config.vocab_size != store.vocab_size:
            raise UserError(
                f"{config.model.from_pretrained} has a vocabulary of {loaded.config.vocab_size}, "
                f"{config.store} was made with one of {store.vocab_size}: prepare the store with "
                "the model's tokenizer"
            )
        return loaded.config, lambda: loaded.params
    assert config.model.preset is not None
    encoder = preset(config.model.preset)
    changes = {"vocab_size": store.vocab_size} | config.model.overrides
    values = dataclasses.asdict(encoder) | changes
    encoder = parse_config(EncoderConfig, values, origin="model.overrides")
    if encoder.vocab_size != store.vocab_size:
        raise UserError(
            f"model.overrides.vocab_size={encoder.vocab_size} is not that of {config.store}, "
            f"{store.vocab_size}"
        )
    return encoder, lambda: init_params(encoder, task.head, config.seed)


def _data(config: Pretrain, store: TokenStore) -> Data:
    train = PretrainingData(store, config.data, config.seed, config.batch_size)
    evaluation = None
    if config.data.validation_fraction > 0:
        rows = config.rows_per_evaluation()
        held_out = PretrainingData(store, config.data, config.seed, rows, split="validation")
        evaluation = held_out.evaluation_batches
    return Data(
        train_batch=train.batch,
        num_examples=train.num_examples,
        evaluation_batches=evaluation,
        fingerprint=store.fingerprint,
    )
