"""MPNet (Song et al. 2020): RoBERTa without sentence types, with a bias of scores by distance."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.errors import UserError
from jaxbert.families.bert import FIELDS as BERT_FIELDS
from jaxbert.families.bert import canonical_key, tied_vocabulary
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    read_fields,
    refuse_other_mathematics,
    write_fields,
)
from jaxbert.families.roberta import ARCHITECTURES as ROBERTA_ARCHITECTURES
from jaxbert.families.roberta import head_styles, head_weights
from jaxbert.families.weight import Weight, dense, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RelativeBias

PREFIX = "mpnet."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"

ARCHITECTURES = {f"MPNet{rest}": kind for rest, kind in ROBERTA_ARCHITECTURES.items()}
FIELDS = {ours: theirs for ours, theirs in BERT_FIELDS.items() if ours != "type_vocab_size"}

BUCKETS = "relative_attention_num_buckets"
# transformers has these two in its code, whatever config.json says.
_BUCKETS, _PADDING = 32, 1

DEFAULTS = EncoderConfig(
    model_type="mpnet",
    vocab_size=30527,
    type_vocab_size=0,
    pad_token_id=_PADDING,
    position_embedding_type="after_padding",
    relative_bias=RelativeBias(_BUCKETS),
    heads=head_styles(),
)
"""What config.json leaves out; the published model states its own positions and eps."""

BASE = replace(DEFAULTS, max_position_embeddings=514, layer_norm_eps=1e-5)
PRESETS = {"mpnet-base": BASE}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than MPNet's mathematics.
    """
    refuse_other_mathematics(hf, "mpnet", {BUCKETS: _BUCKETS})
    if hf.get("pad_token_id") not in (None, _PADDING):
        raise UserError(
            f"pad_token_id={hf['pad_token_id']!r} is not implemented for mpnet, whose positions "
            f"begin after padding with id {_PADDING}: take a tokenizer that pads with it (jaxbert "
            "prepare --tokenizer-family mpnet trains one)"
        )
    return replace(
        DEFAULTS, **read_fields(hf, FIELDS), hidden_act=activation(hf, "hidden_act", "gelu")
    )


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of MPNet's config.json. Every head goes by `hidden_dropout_prob`."""
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        BUCKETS: _BUCKETS,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """MPNet's table of names. Of all classes, the plain encoder alone is saved unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    return (*_encoder_weights(config, prefix), *head_weights(config, head, prefix))


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    yield Weight(f"{ours}/position/embedding", f"{theirs}.position_embeddings.weight")
    yield from norm(f"{ours}/norm", f"{theirs}.LayerNorm")
    yield Weight(
        "encoder/relative_bias/embedding", f"{prefix}encoder.relative_attention_bias.weight"
    )
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        for name in ("query", "key", "value", "output"):
            yield from dense(f"{ours}/attention/{name}", f"{theirs}.attention.attn.{name[0]}")
        yield from norm(f"{ours}/attention_norm", f"{theirs}.attention.LayerNorm")
        yield from dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense")
        yield from dense(f"{ours}/mlp/down", f"{theirs}.output.dense")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm")


MPNET = Family(
    model_type="mpnet",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=partial(canonical_key, prefix=PREFIX),
    tied=lambda config: tied_vocabulary(config, "lm_head", WORDS),
    buffers=frozenset({f"{PREFIX}embeddings.position_ids"}),
    token_ids=("bos_token_id", "eos_token_id"),
    head_prefixes=(f"{PREFIX}pooler.", "lm_head.", "classifier.", "qa_outputs."),
)
