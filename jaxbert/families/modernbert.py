"""ModernBERT (Warner et al. 2024): rotary positions, mostly local attention, gated layers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from jaxbert.errors import UserError
from jaxbert.families.bert import classifier_dropout
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    flag,
    number,
    padding_of,
    rate,
    read_fields,
    refuse_other_mathematics,
    rope_theta,
    write_fields,
)
from jaxbert.families.weight import Weight, dense, fused, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import POOLED, Head, HeadKind
from jaxbert.nn.parts import Activation, HeadStyle, HeadStyles, LayerType, RotaryPositions

PREFIX = "model."
POOLINGS: tuple[Literal["cls", "mean"], ...] = ("cls", "mean")

ARCHITECTURES: dict[str, HeadKind] = {
    "ModernBertModel": "none",
    "ModernBertForMaskedLM": "masked_lm",
    "ModernBertForSequenceClassification": "sequence_classification",
    "ModernBertForTokenClassification": "token_classification",
    "ModernBertForQuestionAnswering": "question_answering",
    "ModernBertForMultipleChoice": "multiple_choice",
}

FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "initializer_range": "initializer_range",
    "layer_norm_eps": "norm_eps",
    "norm_bias": "norm_bias",
    "attention_bias": "attention_bias",
    "attention_probs_dropout_prob": "attention_dropout",
    "local_attention": "local_attention",
    "embedding_dropout_prob": "embedding_dropout",
    "mlp_bias": "mlp_bias",
    "mlp_dropout_prob": "mlp_dropout",
    "tie_word_embeddings": "tie_word_embeddings",
}

SPECIAL = {
    "bos_token_id": 50281,
    "cls_token_id": 50281,
    "eos_token_id": 50282,
    "sep_token_id": 50282,
}
"""Of the published vocabulary; another one has its own, which its tokenizer knows."""


def head_styles(
    act: Activation = "gelu",
    dropout: float = 0.0,
    pooling: Literal["cls", "mean"] = "cls",
    *,
    bias: bool = False,
    decoder_bias: bool = True,
) -> HeadStyles:
    """The one prediction head of ModernBERT, in front of every last layer."""
    style = HeadStyle(act, norm=True, bias=bias, dropout=dropout, pooling=pooling)
    return HeadStyles(
        pooler=None,
        sequence_classification=style,
        multiple_choice=style,
        token_classification=style,
        question_answering=style,
        masked_lm=style,
        masked_lm_bias=decoder_bias,
    )


def every(period: int) -> tuple[LayerType, ...]:
    """Full attention in the first of every `period` layers."""
    local: LayerType = "sliding_attention"
    return ("full_attention", *(local for _ in range(period - 1)))


DEFAULTS = EncoderConfig(
    model_type="modernbert",
    vocab_size=50368,
    num_hidden_layers=22,
    intermediate_size=1152,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=8192,
    type_vocab_size=0,
    layer_norm_eps=1e-5,
    pad_token_id=50283,
    position_embedding_type="none",
    embedding_dropout_prob=0.0,
    norm_placement="pre",
    norm_bias=False,
    first_norm=False,
    attention_bias=False,
    attention_output_dropout_prob=0.0,
    layer_types=every(3),
    rotary=RotaryPositions(rope_theta=160000.0, local_rope_theta=10000.0),
    gated_mlp=True,
    mlp_bias=False,
    depth_scaled_initializer=True,
    heads=head_styles(),
)
"""What config.json leaves out."""

BASE = replace(DEFAULTS, heads=head_styles(pooling="mean"))
PRESETS = {
    "modernbert-base": BASE,
    "modernbert-large": replace(
        BASE,
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        intermediate_size=2624,
    ),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes, of transformers v4 or v5.

    Raises UserError for a field that asks for something else than ModernBERT's mathematics.
    """
    refuse_other_mathematics(hf, "modernbert", {"rope_scaling": None})
    fields = read_fields(hf, FIELDS)
    fields |= padding_of(hf)
    config = replace(DEFAULTS, **fields)
    derived = {
        # In transformers 5 another name of local_attention, of which it is half.
        "sliding_window": config.local_attention // 2,
        "head_dim": config.hidden_size // config.num_attention_heads,
    }
    refuse_other_mathematics(hf, "modernbert", derived)
    return replace(
        config,
        attention_output_dropout_prob=config.attention_probs_dropout_prob,
        hidden_act=activation(hf, "hidden_activation", "gelu"),
        layer_types=_layer_types(hf, config.num_hidden_layers),
        rotary=_rotary(hf),
        heads=_head_styles(hf),
    )


def _head_styles(hf: Mapping[str, Any]) -> HeadStyles:
    pooling = hf.get("classifier_pooling", "cls")
    if pooling not in POOLINGS:
        raise UserError(f"classifier_pooling={pooling!r}: expected one of {', '.join(POOLINGS)}")
    return head_styles(
        activation(hf, "classifier_activation", "gelu"),
        rate(hf, "classifier_dropout") or 0.0,
        pooling,
        bias=flag("classifier_bias", hf.get("classifier_bias", False)),
        decoder_bias=flag("decoder_bias", hf.get("decoder_bias", True)),
    )


def _rotary(hf: Mapping[str, Any]) -> RotaryPositions:
    published = DEFAULTS.rotary
    assert published is not None
    nested = hf.get("rope_parameters") or {}
    if not isinstance(nested, Mapping) or set(nested) - set(get_args(LayerType)):
        raise UserError(f"rope_parameters={nested!r}: expected one object for each type of layers")
    base = hf.get("global_rope_theta", published.rope_theta)
    full = rope_theta(nested.get("full_attention"), base)
    base = hf.get("local_rope_theta", published.local_rope_theta)
    # transformers v4: null is the base of the layers of full attention.
    local = rope_theta(nested.get("sliding_attention"), full if base is None else base)
    return RotaryPositions(rope_theta=full, local_rope_theta=local)


def _layer_types(hf: Mapping[str, Any], layers: int) -> tuple[LayerType, ...]:
    """The shortest pattern that the layers repeat; that of transformers v4 where it fits."""
    name = "global_attn_every_n_layers"
    period = 3 if hf.get(name) is None else int(number(name, hf[name], whole=True))
    if period < 1:
        raise UserError(f"{name}={period}: must be at least 1")
    types = hf.get("layer_types")
    if types is None:
        return every(period)
    known = get_args(LayerType)
    if not isinstance(types, list) or len(types) != layers or not set(types) <= set(known):
        raise UserError(
            f"layer_types={types!r}: expected for each of {layers} layers one of {', '.join(known)}"
        )
    patterns = [every(period), *(tuple(types[:count]) for count in range(1, layers + 1))]
    return next(pattern for pattern in patterns if _repeated(pattern, layers) == types)


def _repeated(pattern: tuple[LayerType, ...], layers: int) -> list[LayerType]:
    return [pattern[layer % len(pattern)] for layer in range(layers)]


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of ModernBERT's config.json, in the words of transformers v4 and v5."""
    style, rotary = config.heads.sequence_classification, config.rotary
    types, bases, rope = config.layer_types or every(1), {}, {}
    if rotary is not None:
        full, local = rotary.rope_theta, rotary.local_rope_theta
        bases = {"full_attention": full, "sliding_attention": local}
        rope = {"global_rope_theta": full, "local_rope_theta": local}
    is_published = config.vocab_size == DEFAULTS.vocab_size
    return {
        **write_fields(config, FIELDS),
        "hidden_activation": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        **{name: token if is_published else None for name, token in SPECIAL.items()},
        "layer_types": _repeated(types, config.num_hidden_layers),
        # Null stops v4, which knows no other pattern, from computing something else.
        "global_attn_every_n_layers": len(types) if types == every(len(types)) else None,
        "rope_parameters": {
            name: {"rope_type": "default", "rope_theta": base} for name, base in bases.items()
        },
        **rope,
        "classifier_pooling": head.pooling if head.pooling in POOLINGS else style.pooling,
        "classifier_dropout": classifier_dropout(config, head),
        "classifier_bias": style.bias,
        "classifier_activation": style.activation,
        "decoder_bias": config.heads.masked_lm_bias,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """ModernBERT's table of names. Of all classes, ModernBertModel saves the encoder unprefixed."""
    table = list(_encoder_weights(config, "" if head.kind == "none" else PREFIX))
    if head.kind == "none":
        return tuple(table)
    ours = "pooler" if head.kind in POOLED else "projection"
    ours = "masked_lm" if head.has_masked_lm else ours
    table += dense(f"{ours}/dense", "head.dense", bias=config.heads.masked_lm.bias)
    table += norm(f"{ours}/norm", "head.norm", bias=config.norm_bias)
    if head.num_outputs:
        table += dense("classifier/dense", "classifier")
    if head.has_masked_lm and config.heads.masked_lm_bias:
        table.append(Weight("masked_lm/bias", "decoder.bias", "pad_vocab"))
    if head.has_masked_lm and not config.tie_word_embeddings:
        table.append(Weight("masked_lm/decoder", "decoder.weight", "pad_vocab"))
    return tuple(table)


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    words = f"{prefix}embeddings.tok_embeddings.weight"
    yield Weight("encoder/embeddings/word/embedding", words, "pad_vocab")
    yield from norm("encoder/embeddings/norm", f"{prefix}embeddings.norm", bias=config.norm_bias)
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}layers.{index}"
        if index > 0 or config.first_norm:
            yield from norm(f"{ours}/attention_norm", f"{theirs}.attn_norm", bias=config.norm_bias)
        names = tuple(f"{ours}/attention/{name}" for name in ("query", "key", "value"))
        yield from fused(names, f"{theirs}.attn.Wqkv", bias=config.attention_bias)
        output = f"{ours}/attention/output"
        yield from dense(output, f"{theirs}.attn.Wo", bias=config.attention_bias)
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.mlp_norm", bias=config.norm_bias)
        names = (f"{ours}/mlp/up", f"{ours}/mlp/gate")
        yield from fused(names, f"{theirs}.mlp.Wi", bias=config.mlp_bias)
        yield from dense(f"{ours}/mlp/down", f"{theirs}.mlp.Wo", bias=config.mlp_bias)
    yield from norm("encoder/final_norm", f"{prefix}final_norm", bias=config.norm_bias)


def _canonical_key(key: str) -> str:
    # In the authors' own training code the encoder is `bert`, and its layers lie in `encoder`.
    key = key.removeprefix("bert.").removeprefix("encoder.")
    return PREFIX + key if key.startswith(("embeddings.", "layers.", "final_norm.")) else key


MODERNBERT = Family(
    model_type="modernbert",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=_canonical_key,
    tied=lambda config: (
        {"decoder.weight": "model.embeddings.tok_embeddings.weight"}
        if config.tie_word_embeddings
        else {}
    ),
    head_prefixes=("head.", "decoder.", "classifier."),
    poolings=frozenset(POOLINGS),
    token_ids=tuple(SPECIAL),
)
