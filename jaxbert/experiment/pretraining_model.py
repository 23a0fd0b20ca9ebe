"""The encoder that pretraining trains; plans ask for it without data or weights."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxbert.config import parse_config
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError, nearest
from jaxbert.experiment.checks import check_length
from jaxbert.families import preset
from jaxbert.hub.save import beyond_family, check_tokenizer
from jaxbert.nn.config import EncoderConfig
from jaxbert.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelConfig:
    """What is trained: a published size, changed where asked, or an existing model."""

    preset: str | None = None
    """e.g. `bert-base-uncased`; its vocabulary size gives way to the store's."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of the architecture (jaxbert/nn/config.py) that differ from the preset, such as
    `hidden_size: 128`. Where the family's config.json cannot say them, the model is written in our
    own layout (Orbax), which transformers does not open."""
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


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a store mean."""

    store: TokenStore
    tokenizer: Tokenizer


def encoder_of(
    model: ModelConfig, given: EncoderConfig | None, vocabulary: Vocabulary | None
) -> EncoderConfig:
    """That of model.from_pretrained, which is `given`, or the preset with its overrides.

    The preset takes the store's vocabulary where the store is here (None: it is not). Raises
    UserError for another number of tokens, of `given` for more than it has embeddings: whether its
    tokens are the store's, `check_vocabulary` tells.
    """
    origin = model.from_pretrained if given is not None else "model.overrides"
    encoder = _of_preset(model, vocabulary) if given is None else given
    spare = 0 if vocabulary is None else encoder.vocab_size - vocabulary.store.vocab_size
    if vocabulary is not None and (spare < 0 or (spare and given is None)):
        raise UserError(
            f"{origin}: a vocabulary of {encoder.vocab_size}, {vocabulary.store.path} was made "
            f"with one of {vocabulary.store.vocab_size}: prepare the store with the model's "
            "tokenizer"
        )
    if vocabulary is not None:
        check_tokenizer(vocabulary.tokenizer, encoder)
    return encoder


def check_encoders(
    encoders: Iterable[EncoderConfig], data: Sequence[PretrainingDataConfig]
) -> None:
    """Raises UserError for one that is too short for a phase's rows."""
    for encoder in encoders:
        for phase in data:
            check_length("max_seq_length", phase.max_seq_length, encoder)


def note_of_own(encoders: Iterable[EncoderConfig]) -> tuple[str, ...]:
    """What a run begins with where its models can be kept in our own layout alone."""
    own = {name: value for encoder in encoders for name, value in beyond_family(encoder).items()}
    if not own:
        return ()
    told = ", ".join(f"{name}={value}" for name, value in own.items())
    return (
        f"an architecture of its own ({told}): no config.json of transformers can say it, so what "
        "has it is written in jaxbert's layout, which jaxbert alone opens",
    )


def _of_preset(model: ModelConfig, vocabulary: Vocabulary | None) -> EncoderConfig:
    assert model.preset is not None
    known, published = {}, preset(model.preset)
    if vocabulary is not None:
        tokenizer = vocabulary.tokenizer
        known = {"vocab_size": vocabulary.store.vocab_size, "pad_token_id": tokenizer.pad_id}
        if published.token_dropout:
            known["mask_token_id"] = tokenizer.mask_id
    values = dataclasses.asdict(published) | known | model.overrides
    return parse_config(EncoderConfig, values, origin="model.overrides")
