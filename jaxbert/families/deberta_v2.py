"""DeBERTa-v2 (He et al. 2020) and DeBERTa-v3 (He et al. 2021), which differ in their training."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.errors import UserError
from jaxbert.families.bert import (
    FIELDS,
    canonical_key,
    classifier_dropout,
    tied_vocabulary,
    vocabulary_weights,
)
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    flag,
    number,
    padding_of,
    rate,
    read_fields,
    refuse_other_mathematics,
    write_fields,
)
from jaxbert.families.weight import Weight, classifier_key, dense, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import (
    Activation,
    Convolution,
    HeadStyle,
    HeadStyles,
    PositionAttention,
    RelativeAttention,
)

PREFIX = "deberta."
KINDS: tuple[PositionAttention, ...] = ("c2p", "p2c")

ARCHITECTURES: dict[str, HeadKind] = {
    "DebertaV2Model": "none",
    "DebertaV2ForMaskedLM": "masked_lm",
    "DebertaV2ForSequenceClassification": "sequence_classification",
    "DebertaV2ForTokenClassification": "token_classification",
    "DebertaV2ForQuestionAnswering": "question_answering",
    "DebertaV2ForMultipleChoice": "multiple_choice",
}


def head_styles(
    act: Activation = "gelu", before: float = 0.0, last: float | None = None, *, legacy: bool = True
) -> HeadStyles:
    """DeBERTa's heads: its pooler stands in classifiers only. `before` it and before the `last`
    layer acts dropout."""
    pooled = HeadStyle(act, dense_dropout=before, dropout=last)
    return HeadStyles(
        pooler=None, sequence_classification=pooled, multiple_choice=pooled, legacy=legacy
    )


DEFAULTS = EncoderConfig(
    model_type="deberta-v2",
    vocab_size=128100,
    hidden_size=1536,
    num_hidden_layers=24,
    num_attention_heads=24,
    intermediate_size=6144,
    type_vocab_size=0,
    layer_norm_eps=1e-7,
    mask_embeddings=True,
    heads=head_styles(),
)
"""What config.json leaves out; no published model does without relative positions."""

V3 = replace(
    DEFAULTS,
    position_embedding_type="none",
    relative_attention=RelativeAttention(position_buckets=256, max_relative_positions=512),
)
V2 = replace(V3, convolution=Convolution(conv_kernel_size=3, conv_act="gelu"))


def _size(layers: int, hidden: int, vocab_size: int = 128100) -> EncoderConfig:
    return replace(
        V3,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        vocab_size=vocab_size,
    )


PRESETS = {
    "deberta-v2-xlarge": V2,
    "deberta-v2-xxlarge": replace(V2, num_hidden_layers=48),
    "deberta-v3-xsmall": _size(12, 384),
    "deberta-v3-small": _size(6, 768),
    "deberta-v3-base": _size(12, 768),
    "deberta-v3-large": _size(24, 1024),
    "mdeberta-v3-base": _size(12, 768, 251000),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than DeBERTa-v2's mathematics.
    """
    refuse_other_mathematics(hf, "deberta-v2", {"conv_groups": 1})
    config = shared_config(DEFAULTS, hf)
    width = config.hidden_size // config.num_attention_heads
    refuse_other_mathematics(hf, "deberta-v2", {"attention_head_size": width})
    kinds = position_attention(hf)
    relative = None if kinds is None else _relative_attention(hf, config, kinds)
    return replace(config, relative_attention=relative, convolution=_convolution(hf))


def shared_config(defaults: EncoderConfig, hf: Mapping[str, Any]) -> EncoderConfig:
    """What every version's config.json says, of all but relative positions."""
    fields = read_fields(hf, FIELDS) | padding_of(hf)
    is_biased = flag("position_biased_input", hf.get("position_biased_input", True))
    heads = _head_styles(hf)
    if not heads.legacy:
        # That head has no output projection of its own, whatever the field says.
        fields["tie_word_embeddings"] = True
    config = replace(
        defaults,
        **fields,
        hidden_act=activation(hf, "hidden_act", "gelu"),
        position_embedding_type="absolute" if is_biased else "none",
        heads=heads,
    )
    widths = dict.fromkeys(("embedding_size", "pooler_hidden_size"), config.hidden_size)
    refuse_other_mathematics(hf, config.model_type, widths)
    return config


def _head_styles(hf: Mapping[str, Any]) -> HeadStyles:
    act = activation(hf, "pooler_hidden_act", "gelu")
    before = rate(hf, "pooler_dropout") or 0.0
    legacy = flag("legacy", hf.get("legacy", True))
    return head_styles(act, before, rate(hf, "cls_dropout"), legacy=legacy)


def furthest_position(hf: Mapping[str, Any], config: EncoderConfig) -> int:
    """How far relative positions are told apart: as far as there are any, if not stated."""
    name = "max_relative_positions"
    stated = int(number(name, hf.get(name, -1), whole=True))
    return stated if stated > 0 else config.max_position_embeddings


def _relative_attention(
    hf: Mapping[str, Any], config: EncoderConfig, kinds: tuple[PositionAttention, ...]
) -> RelativeAttention:
    furthest, longest = furthest_position(hf, config), config.max_position_embeddings
    buckets = int(number("position_buckets", hf.get("position_buckets", -1), whole=True))
    plain = buckets // 2 + 1
    if buckets > 0 and furthest <= plain < longest:
        # The reference's steps are then of no or of negative width.
        raise UserError(
            f"max_relative_positions={furthest} is not implemented with position_buckets={buckets}:"
            f" expected more than {plain}, so that farther positions fall into buckets"
        )
    return RelativeAttention(
        position_buckets=max(buckets, 0),
        max_relative_positions=furthest,
        pos_att_type=kinds,
        share_att_key=flag("share_att_key", hf.get("share_att_key", False)),
        norm_rel_ebd=_has_norm(hf.get("norm_rel_ebd", "none")),
    )


def position_attention(
    hf: Mapping[str, Any], *, all_count: bool = False
) -> tuple[PositionAttention, ...] | None:
    """In one order, which does not matter: a list, or the names between bars. None: no positions.

    `all_count`: the first version's scores are divided by the root of the number of names, whatever
    they are, and however often they come.
    """
    value = hf.get("pos_att_type")
    given = value.lower().split("|") if isinstance(value, str) else (value or [])
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise UserError(f"pos_att_type={value!r}: expected a list of names")
    names = [name.strip() for name in given]
    if not all_count:
        names = [*{*names} - {"", "none"}]
    if {*names} - {*KINDS} or len({*names}) < len(names):
        raise UserError(
            f"pos_att_type={value!r} is not implemented: expected some of {', '.join(KINDS)}, "
            "each one once"
        )
    if flag("relative_attention", hf.get("relative_attention", False)):
        return tuple(kind for kind in KINDS if kind in names)
    if names:
        raise UserError(
            f"pos_att_type={value!r} without relative_attention is not "
            "implemented: set relative_attention, or pos_att_type to null"
        )
    return None


def _has_norm(value: Any) -> bool:
    if value not in ("none", "layer_norm"):
        raise UserError(
            f"norm_rel_ebd={value!r} is not implemented: expected 'layer_norm' or 'none'"
        )
    return bool(value == "layer_norm")


def _convolution(hf: Mapping[str, Any]) -> Convolution | None:
    width = int(number("conv_kernel_size", hf.get("conv_kernel_size", 0), whole=True))
    return Convolution(width, activation(hf, "conv_act", "tanh")) if width > 0 else None


def shared_fields(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """What every version's config.json has, of all but the kind of relative positions."""
    style = config.heads.sequence_classification
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "position_biased_input": config.position_embedding_type == "absolute",
        "relative_attention": config.relative_attention is not None,
        "pooler_hidden_act": style.activation,
        "pooler_dropout": style.dense_dropout,
        "pooler_hidden_size": config.hidden_size,
        "cls_dropout": classifier_dropout(config, head),
        "legacy": config.heads.legacy,
    }


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of DeBERTa-v2's config.json."""
    fields, relative = shared_fields(config, head), config.relative_attention
    if relative is not None:
        fields |= {
            "position_buckets": relative.position_buckets or -1,
            "max_relative_positions": relative.max_relative_positions,
            "pos_att_type": list(relative.pos_att_type),
            "share_att_key": relative.share_att_key,
            "norm_rel_ebd": "layer_norm" if relative.norm_rel_ebd else "none",
        }
    if config.convolution is not None:
        fields["conv_kernel_size"] = config.convolution.conv_kernel_size
        fields["conv_act"] = config.convolution.conv_act
    return fields


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """DeBERTa-v2's table of names. Of all classes, DebertaV2Model saves the encoder unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    table = [*embedding_weights(config, prefix), *_layer_weights(config, prefix)]
    table += _shared_weights(config, f"{prefix}encoder")
    if head.kind in ("sequence_classification", "multiple_choice"):
        table += dense("pooler/dense", "pooler.dense")
    if head.has_masked_lm:
        table += masked_lm_weights(config)
    if head.num_outputs:
        table += dense("classifier/dense", classifier_key(head))
    return tuple(table)


def embedding_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    """Rows of the tables that the encoder has, and of their norm."""
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    if config.position_embedding_type == "absolute":
        yield Weight(f"{ours}/position/embedding", f"{theirs}.position_embeddings.weight")
    if config.type_vocab_size:
        yield Weight(f"{ours}/token_type/embedding", f"{theirs}.token_type_embeddings.weight")
    yield from norm(f"{ours}/norm", f"{theirs}.LayerNorm")


def _layer_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    relative = config.relative_attention
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        for name in ("query", "key", "value"):
            yield from dense(f"{ours}/attention/{name}", f"{theirs}.attention.self.{name}_proj")
        if relative is not None and not relative.share_att_key:
            positions = {"c2p": "key", "p2c": "query"}
            for name in (positions[kind] for kind in relative.pos_att_type):
                yield from dense(
                    f"{ours}/attention/position_{name}", f"{theirs}.attention.self.pos_{name}_proj"
                )
        yield from behind_attention(ours, theirs)


def behind_attention(ours: str, theirs: str) -> Iterator[Weight]:
    """Rows of a layer from the attention's output projection on."""
    yield from dense(f"{ours}/attention/output", f"{theirs}.attention.output.dense")
    yield from norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm")
    yield from dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense")
    yield from dense(f"{ours}/mlp/down", f"{theirs}.output.dense")
    yield from norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm")


def _shared_weights(config: EncoderConfig, theirs: str) -> Iterator[Weight]:
    relative = config.relative_attention
    if relative is not None:
        yield Weight("encoder/relative/embedding", f"{theirs}.rel_embeddings.weight")
        if relative.norm_rel_ebd:
            yield from norm("encoder/relative/norm", f"{theirs}.LayerNorm")
    if config.convolution is not None:
        yield from dense("encoder/convolution", f"{theirs}.conv.conv")
        yield from norm("encoder/convolution/norm", f"{theirs}.conv.LayerNorm")


def masked_lm_weights(config: EncoderConfig) -> Iterator[Weight]:
    """Rows of whichever of the two heads the encoder has."""
    if config.heads.legacy:
        yield from dense("masked_lm/dense", "cls.predictions.transform.dense")
        yield from norm("masked_lm/norm", "cls.predictions.transform.LayerNorm")
        yield from vocabulary_weights(config, "cls.predictions")
        return
    yield from dense("masked_lm/dense", "lm_predictions.lm_head.dense")
    yield from norm("masked_lm/norm", "lm_predictions.lm_head.LayerNorm")
    yield Weight("masked_lm/bias", "lm_predictions.lm_head.bias", "pad_vocab")


def tied(config: EncoderConfig) -> Mapping[str, str]:
    """Copies that files of tied models may hold: the older head alone has an output projection."""
    words = f"{PREFIX}embeddings.word_embeddings.weight"
    return tied_vocabulary(config, "cls.predictions", words) if config.heads.legacy else {}


DEBERTA_V2 = Family(
    model_type="deberta-v2",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=partial(canonical_key, prefix=PREFIX, bare=("embeddings.", "encoder.")),
    tied=tied,
    buffers=frozenset({"deberta.embeddings.position_ids"}),
    head_prefixes=(
        "pooler.",
        "cls.",
        "lm_predictions.",
        # Microsoft's replaced-token detection, for which transformers has no class.
        "mask_predictions.",
        "classifier.",
        "qa_outputs.",
        # Microsoft's mask decoder adds them at the end; its files have them in any case.
        "deberta.embeddings.position_embeddings.",
    ),
)
