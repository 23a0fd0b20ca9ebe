"""DeBERTa (He et al. 2021), the first version: every relative position has a row of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from jaxbert.families.deberta_v2 import (
    DEBERTA_V2,
    KINDS,
    PREFIX,
    behind_attention,
    embedding_weights,
    furthest_position,
    head_styles,
    masked_lm_weights,
    position_attention,
    shared_config,
    shared_fields,
)
from jaxbert.families.fields import refuse_other_mathematics
from jaxbert.families.weight import Weight, classifier_key, dense, fused
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import PositionAttention, RelativeAttention

ARCHITECTURES: dict[str, HeadKind] = {
    "DebertaModel": "none",
    "DebertaForMaskedLM": "masked_lm",
    "DebertaForSequenceClassification": "sequence_classification",
    "DebertaForTokenClassification": "token_classification",
    "DebertaForQuestionAnswering": "question_answering",
}

DEFAULTS = EncoderConfig(
    model_type="deberta",
    vocab_size=50265,
    type_vocab_size=0,
    layer_norm_eps=1e-7,
    mask_embeddings=True,
    key_bias=False,
    heads=head_styles(),
)
"""What config.json leaves out; no published model does without relative positions."""


def _relative(furthest: int, kinds: tuple[PositionAttention, ...]) -> RelativeAttention:
    return RelativeAttention(
        position_buckets=0,
        max_relative_positions=furthest,
        pos_att_type=kinds,
        share_att_key=False,
        norm_rel_ebd=False,
    )


BASE = replace(DEFAULTS, position_embedding_type="none", relative_attention=_relative(512, KINDS))
LARGE = replace(
    BASE, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
PRESETS = {
    "deberta-base": BASE,
    "deberta-large": LARGE,
    "deberta-xlarge": replace(LARGE, num_hidden_layers=48),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than DeBERTa's mathematics.
    """
    refuse_other_mathematics(hf, "deberta", {"talking_head": False})
    config, kinds = shared_config(DEFAULTS, hf), position_attention(hf, all_count=True)
    relative = None if kinds is None else _relative(furthest_position(hf, config), kinds)
    return replace(config, relative_attention=relative)


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of DeBERTa's config.json."""
    fields, relative = shared_fields(config, head), config.relative_attention
    if relative is not None:
        fields["max_relative_positions"] = relative.max_relative_positions
        fields["pos_att_type"] = list(relative.pos_att_type)
    return fields


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """DeBERTa's table of names. Of all classes, DebertaModel saves the encoder unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    table = [*embedding_weights(config, prefix), *_layer_weights(config, prefix)]
    if config.relative_attention is not None:
        table.append(Weight("encoder/relative/embedding", f"{prefix}encoder.rel_embeddings.weight"))
    if head.kind == "sequence_classification":
        table += dense("pooler/dense", "pooler.dense")
    if head.has_masked_lm:
        table += masked_lm_weights(config)
    if head.num_outputs:
        table += dense("classifier/dense", classifier_key(head))
    return tuple(table)


def _layer_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    relative = config.relative_attention
    kinds = () if relative is None else relative.pos_att_type
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        attention, projections = f"{ours}/attention", f"{theirs}.attention.self"
        names = [f"{attention}/{name}" for name in ("query", "key", "value")]
        # One head after the other, and of each its query, its key and its value.
        heads = config.num_attention_heads
        yield from fused(names, f"{projections}.in_proj", bias=False, runs=heads)
        yield Weight(f"{attention}/query/bias", f"{projections}.q_bias")
        yield Weight(f"{attention}/value/bias", f"{projections}.v_bias")
        if "c2p" in kinds:
            yield from dense(f"{attention}/position_key", f"{projections}.pos_proj", bias=False)
        if "p2c" in kinds:
            yield from dense(f"{attention}/position_query", f"{projections}.pos_q_proj")
        yield from behind_attention(ours, theirs)


DEBERTA = replace(
    DEBERTA_V2,
    model_type="deberta",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
)
