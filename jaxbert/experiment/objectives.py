"""What pretraining minimises: the choices of a configuration, and how they become a trainee."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import jax
from annotated_types import Ge, Gt, Le

from jaxbert.data.pairs import SentencePairs
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import TrainedModel
from jaxbert.experiment.parameters import MakeParams
from jaxbert.experiment.trainee import Trainee
from jaxbert.families import family_of
from jaxbert.hub.load import Opened, open_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.replaced_token_pair import (
    DISCRIMINATOR,
    GENERATOR,
    EmbeddingSharing,
    ReplacedTokenPair,
)
from jaxbert.training.flops import train_flops
from jaxbert.typing import HostBatch, Params


@dataclass(frozen=True)
class MaskedLMConfig:
    """Masked language modelling, with the sentence objective that `data` chooses."""

    kind: Literal["masked_lm"] = "masked_lm"


@dataclass(frozen=True)
class ReplacedTokenConfig:
    """Replaced-token detection (ELECTRA; DeBERTa-v3): `model` is the discriminator."""

    kind: Literal["replaced_token_detection"] = "replaced_token_detection"
    generator_size: Annotated[float, Gt(0), Le(1)] = 0.25
    """Of the discriminator's attention heads, with them of its widths."""
    generator_layers: Annotated[float, Gt(0), Le(1)] = 1.0
    """Of the discriminator's layers."""
    generator: str | None = None
    """Directory or hub id of a generator to go on from, beside `model.from_pretrained`."""
    embedding_sharing: EmbeddingSharing = "shared"
    """shared: ELECTRA; gradient_disentangled: DeBERTa-v3; none."""
    discriminator_weight: Annotated[float, Ge(0)] = 50.0
    """Of the discriminator's loss beside the generator's."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Of the generator's samples."""


Objective = MaskedLMConfig | ReplacedTokenConfig


def check_objective(objective: Objective, sentence_pairs: SentencePairs, *, goes_on: bool) -> None:
    """Raises UserError for what an objective does not go with; `goes_on`: from a trained model."""
    if not isinstance(objective, ReplacedTokenConfig):
        return
    if sentence_pairs != "none":
        raise UserError(
            f"data.sentence_pairs={sentence_pairs}: {objective.kind} learns nothing "
            "of sentence pairs: set data.sentence_pairs=none"
        )
    if goes_on and objective.generator is None:
        raise UserError(
            "objective.generator: going on from a discriminator (model.from_pretrained) needs the "
            "generator that it was trained with"
        )
    if objective.generator is not None and not goes_on:
        raise UserError(
            f"objective.generator={objective.generator}: goes on beside its discriminator "
            "(model.from_pretrained); a new one has objective.generator_size and generator_layers"
        )


def masked_lm_of(encoder: EncoderConfig, sentence_pairs: SentencePairs) -> MaskedLanguageModelling:
    """The task; raises UserError where the encoder's family has no head for it."""
    task = MaskedLanguageModelling(sentence_pairs)
    if family_of(encoder.model_type).architecture(task.head.kind) is None:
        raise UserError(
            f"data.sentence_pairs={sentence_pairs}: {encoder.model_type} has no head "
            "for sentence pairs: set data.sentence_pairs=none"
        )
    return task


def pair_of(config: ReplacedTokenConfig, discriminator: EncoderConfig) -> ReplacedTokenPair:
    """Both encoders: the generator is a narrower or shallower discriminator, or a given one."""
    if config.generator is None:
        generator = generator_of(config, discriminator)
    else:
        generator = open_params(config.generator, head=GENERATOR).config
    pair = ReplacedTokenPair(generator, discriminator, config.embedding_sharing, config.temperature)
    _check(pair)
    return pair


def generator_of(config: ReplacedTokenConfig, discriminator: EncoderConfig) -> EncoderConfig:
    """Whole heads of the discriminator's width, and as many layers as asked for."""
    heads = max(1, round(discriminator.num_attention_heads * config.generator_size))
    layers = max(1, round(discriminator.num_hidden_layers * config.generator_layers))
    hidden = heads * (discriminator.hidden_size // discriminator.num_attention_heads)
    mlp = discriminator.intermediate_size * hidden // discriminator.hidden_size
    width, is_own = discriminator.embedding_width, discriminator.embedding_size is not None
    types = discriminator.layer_types
    return replace(
        discriminator,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=mlp,
        embedding_size=width if is_own or width != hidden else None,
        layer_types=None if types is None else types[:layers],
    )


def trainee_of(pair: ReplacedTokenPair, make_params: MakeParams) -> Trainee:
    """Generator and discriminator together."""

    def flops(batch: HostBatch) -> float:
        judged = {name: batch[name] for name in batch if name != "masked_lm_positions"}
        return train_flops(pair.generator, batch) + train_flops(pair.discriminator, judged)

    encoders = pair.generator, pair.discriminator
    shapes = jax.eval_shape(lambda: pair.init(0))
    return Trainee(encoders, pair.make_apply, shapes, make_params, flops)


def opened_generator(config: ReplacedTokenConfig) -> Opened:
    """The generator to go on from, which `check_objective` has asked for."""
    assert config.generator is not None
    return open_params(config.generator, head=GENERATOR)


def trained_models(
    objective: Objective,
    sentence_pairs: SentencePairs,
    encoders: Sequence[EncoderConfig],
    params: Params,
) -> dict[str, TrainedModel]:
    """What is exported of the parameters of a run, by directory; `encoders`: the trainee's."""
    if isinstance(objective, ReplacedTokenConfig):
        generator, discriminator = encoders
        pair = ReplacedTokenPair(
            generator, discriminator, objective.embedding_sharing, objective.temperature
        )
        return _of_pair(pair, params)
    [encoder] = encoders
    return {"model": TrainedModel(params, encoder, MaskedLanguageModelling(sentence_pairs).head)}


def _of_pair(pair: ReplacedTokenPair, params: Params) -> dict[str, TrainedModel]:
    """The discriminator, which people fine-tune, as `model`; the generator beside it.

    Where transformers has no class for a discriminator (DeBERTa-v3's), its encoder alone.
    """
    judge, head = pair.discriminator_params(params), DISCRIMINATOR
    if family_of(pair.discriminator.model_type).architecture(head.kind) is None:
        judge, head = {"encoder": judge["encoder"]}, Head()
    return {
        "model": TrainedModel(judge, pair.discriminator, head),
        "generator": TrainedModel(pair.generator_params(params), pair.generator, GENERATOR),
    }


def _check(pair: ReplacedTokenPair) -> None:
    """Raises UserError for a pair that could not be trained, or not be given back."""
    generator, discriminator = pair.generator, pair.discriminator
    if generator.vocab_size != discriminator.vocab_size:
        raise UserError(
            f"objective.generator has a vocabulary of {generator.vocab_size}, the discriminator "
            f"one of {discriminator.vocab_size}: both read the same text"
        )
    if pair.sharing != "none" and generator.embedding_width != discriminator.embedding_width:
        raise UserError(
            f"objective.embedding_sharing={pair.sharing}: the generator's embeddings are "
            f"{generator.embedding_width} wide and the discriminator's "
            f"{discriminator.embedding_width}: take embedding_sharing=none"
        )
    family = family_of(discriminator.model_type)
    if family.architecture(DISCRIMINATOR.kind) is None and discriminator.heads.pooler is not None:
        raise UserError(
            f"objective: transformers has no class for a {discriminator.model_type} discriminator: "
            "take an electra preset, or deberta-v2's"
        )
