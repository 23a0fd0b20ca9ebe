"""Jina Embeddings v3 (Sturua et al. 2024): XLM-R with rotary positions."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import FIELDS, classifier_dropout, tied_vocabulary
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    padding_of,
    rate,
    read_fields,
    refuse_other_mathematics,
    rope_theta,
    write_fields,
)
from jaxbert.families.renamed import filed_name, module_name
from jaxbert.families.roberta import ARCHITECTURES as ROBERTA_ARCHITECTURES
from jaxbert.families.roberta import LARGE, head_styles, head_weights
from jaxbert.families.weight import Weight, dense, fused, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions

PREFIX = "roberta."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"

ARCHITECTURES = {
    f"JinaEmbeddingsV3{rest}": kind
    for rest, kind in ROBERTA_ARCHITECTURES.items()
    if kind != "multiple_choice"
}

DEFAULTS = replace(
    LARGE,
    model_type="jina_embeddings_v3",
    vocab_size=250002,
    max_position_embeddings=8194,
    position_embedding_type="none",
    rotary=RotaryPositions(rope_theta=20000.0),
)
"""What config.json leaves out: the published model."""


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than this family's mathematics.
    """
    config = replace(DEFAULTS, **(read_fields(hf, FIELDS) | padding_of(hf)))
    width = config.hidden_size // config.num_attention_heads
    fixed = {"rope_scaling": None, "head_dim": width}
    refuse_other_mathematics(hf, "jina_embeddings_v3", fixed)
    base = rope_theta(hf.get("rope_parameters"), hf.get("rope_theta", 20000.0))
    return replace(
        config,
        hidden_act=activation(hf, "hidden_act", "gelu"),
        rotary=RotaryPositions(rope_theta=base),
        heads=head_styles(rate(hf, "classifier_dropout")),
    )


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of the family's config.json."""
    rope = {} if config.rotary is None else {"rope_theta": config.rotary.rope_theta}
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout": classifier_dropout(config, head),
        "rope_parameters": {"rope_type": "default", **rope},
        "use_cache": True,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """The family's table of names, which in files are the authors' own.

    Of all classes, the plain encoder alone is saved unprefixed.
    """
    prefix = "" if head.kind == "none" else PREFIX
    return (*_encoder_weights(config, prefix), *head_weights(config, head, prefix))


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    yield Weight(f"{ours}/token_type/embedding", f"{theirs}.token_type_embeddings.weight")
    yield from norm(f"{ours}/norm", f"{prefix}emb_ln")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layers.{index}"
        names = ("query", "key", "value")
        yield from fused(
            [f"{ours}/attention/{name}" for name in names],
            f"{theirs}.mixer.Wqkv",
            apart=[f"{theirs}.self_attn.{name[0]}_proj" for name in names],
        )
        yield from dense(f"{ours}/attention/output", f"{theirs}.mixer.out_proj")
        yield from norm(f"{ours}/attention_norm", f"{theirs}.norm1")
        yield from dense(f"{ours}/mlp/up", f"{theirs}.mlp.fc1")
        yield from dense(f"{ours}/mlp/down", f"{theirs}.mlp.fc2")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.norm2")


RENAMED = {
    "embeddings.LayerNorm.": "emb_ln.",
    ".self_attn.o_proj.": ".mixer.out_proj.",
    ".post_attention_layernorm.": ".norm1.",
    ".post_mlp_layernorm.": ".norm2.",
}
"""Names in transformers' modules, and in the files that transformers writes."""
LAYERS = "encoder.layers."


def _canonical_key(key: str) -> str:
    key = filed_name(key.removeprefix(PREFIX), RENAMED, LAYERS)
    bare = ("embeddings.", "emb_ln.", "encoder.", "pooler.")
    return PREFIX + key if key.startswith(bare) else key


JINA_EMBEDDINGS_V3 = Family(
    model_type="jina_embeddings_v3",
    presets={"jina-embeddings-v3": DEFAULTS},
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=_canonical_key,
    module_key=partial(module_name, renamed=RENAMED, layers=LAYERS),
    tied=lambda config: tied_vocabulary(config, "lm_head", WORDS),
    buffers=frozenset(f"{PREFIX}embeddings.{name}" for name in ("position_ids", "token_type_ids")),
    token_ids=("bos_token_id", "eos_token_id"),
    head_prefixes=(f"{PREFIX}pooler.", "lm_head.", "classifier.", "qa_outputs."),
)
