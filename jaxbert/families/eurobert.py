"""EuroBERT (Boizard et al. 2025): Llama's layers, attending both ways."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from jaxbert.errors import UserError
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    padding_of,
    read_fields,
    refuse_other_mathematics,
    rope_theta,
    without_own_code,
    write_fields,
)
from jaxbert.families.weight import Weight, dense, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import HeadStyle, HeadStyles, RotaryPositions

PREFIX = "model."
POOLINGS: dict[str, Literal["cls", "mean", "late"]] = {"bos": "cls", "mean": "mean", "late": "late"}
NAMES: dict[str, str] = {ours: theirs for theirs, ours in POOLINGS.items()}

ARCHITECTURES: dict[str, HeadKind] = {
    "EuroBertModel": "none",
    "EuroBertForMaskedLM": "masked_lm",
    "EuroBertForSequenceClassification": "sequence_classification",
    "EuroBertForTokenClassification": "token_classification",
}

FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "initializer_range": "initializer_range",
    "layer_norm_eps": "rms_norm_eps",
    "attention_bias": "attention_bias",
    "attention_probs_dropout_prob": "attention_dropout",
    "mlp_bias": "mlp_bias",
    "tie_word_embeddings": "tie_word_embeddings",
}

SPECIAL = {"bos_token_id": 128000, "eos_token_id": 128001, "mask_token_id": 128002}
"""Of the published vocabulary; another one has its own, which its tokenizer knows."""


def head_styles(
    pooling: Literal["cls", "mean", "late"] = "late", *, decoder_bias: bool = False
) -> HeadStyles:
    """EuroBERT's heads, none of which has dropout; the masked LM is the output projection alone."""
    return HeadStyles(
        pooler=None,
        sequence_classification=HeadStyle("gelu", dropout=0.0, pooling=pooling),
        token_classification=HeadStyle(dropout=0.0),
        masked_lm=HeadStyle(),
        masked_lm_bias=decoder_bias,
    )


DEFAULTS = EncoderConfig(
    model_type="eurobert",
    vocab_size=128256,
    hidden_act="silu",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=8192,
    type_vocab_size=0,
    layer_norm_eps=1e-5,
    pad_token_id=128001,
    tie_word_embeddings=False,
    position_embedding_type="none",
    embedding_norm=False,
    norm_placement="pre",
    norm_kind="rms_norm",
    attention_bias=False,
    rotary=RotaryPositions(),
    gated_mlp=True,
    mlp_bias=False,
    heads=head_styles(),
)
"""What config.json leaves out."""

M210 = replace(DEFAULTS, rotary=RotaryPositions(rope_theta=250000.0))
M610 = replace(
    M210,
    hidden_size=1152,
    num_hidden_layers=26,
    num_attention_heads=18,
    num_key_value_heads=6,
    intermediate_size=4096,
)
PRESETS = {
    "eurobert-210m": M210,
    "eurobert-610m": M610,
    "eurobert-2.1b": replace(M610, hidden_size=2304, num_hidden_layers=32, intermediate_size=6144),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes.

    Accepts the published files, whose custom code transformers has taken over since. Raises
    UserError for a field that asks for something else than EuroBERT's mathematics.
    """
    hf = without_own_code(hf, "_eurobert.EuroBert")
    refuse_other_mathematics(hf, "eurobert", {"rope_scaling": None, "hidden_dropout": 0.0})
    fields = read_fields(hf, FIELDS)
    fields |= padding_of(hf)
    if hf.get("num_key_value_heads") is not None:
        fields |= read_fields(hf, {"num_key_value_heads": "num_key_value_heads"})
    config = replace(DEFAULTS, **fields, hidden_act=activation(hf, "hidden_act", "silu"))
    width = config.hidden_size // config.num_attention_heads
    refuse_other_mathematics(hf, "eurobert", {"head_dim": width})
    # clf_pooling: of the published files.
    pooling = hf.get("classifier_pooling", hf.get("clf_pooling", "late"))
    if pooling not in POOLINGS:
        raise UserError(f"classifier_pooling={pooling!r}: expected one of {', '.join(POOLINGS)}")
    base = rope_theta(hf.get("rope_parameters"), hf.get("rope_theta", 10000.0))
    return replace(
        config,
        num_key_value_heads=_shared_heads(config),
        rotary=RotaryPositions(rope_theta=base),
        heads=head_styles(POOLINGS[pooling], decoder_bias=config.mlp_bias),
    )


def _shared_heads(config: EncoderConfig) -> int | None:
    """As a preset has it: None where every head has its own keys and values."""
    count = config.num_key_value_heads
    return None if count == config.num_attention_heads else count


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of EuroBERT's config.json."""
    style, rotary = config.heads.sequence_classification, config.rotary
    rope = {} if rotary is None else {"rope_theta": rotary.rope_theta}
    is_published = config.vocab_size == DEFAULTS.vocab_size
    tokens = SPECIAL if is_published else {"bos_token_id": None, "eos_token_id": None}
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.hidden_size // config.num_attention_heads,
        "pad_token_id": config.pad_token_id,
        **tokens,
        **rope,
        "rope_parameters": {"rope_type": "default", **rope},
        "classifier_pooling": NAMES.get(str(head.pooling), NAMES[style.pooling]),
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """EuroBERT's table of names. Of all classes, EuroBertModel saves the encoder unprefixed."""
    table = list(_encoder_weights(config, "" if head.kind == "none" else PREFIX))
    if head.kind == "sequence_classification":
        table += dense("pooler/dense", "dense")
    if head.num_outputs:
        table += dense("classifier/dense", "classifier")
    if head.has_masked_lm and config.heads.masked_lm_bias:
        table.append(Weight("masked_lm/bias", "lm_head.bias", "pad_vocab"))
    if head.has_masked_lm and not config.tie_word_embeddings:
        table.append(Weight("masked_lm/decoder", "lm_head.weight", "pad_vocab"))
    return tuple(table)


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    yield Weight("encoder/embeddings/word/embedding", f"{prefix}embed_tokens.weight", "pad_vocab")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}layers.{index}"
        yield from norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", bias=False)
        for name in ("query", "key", "value", "output"):
            path, key = f"{ours}/attention/{name}", f"{theirs}.self_attn.{name[0]}_proj"
            yield from dense(path, key, bias=config.attention_bias)
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.post_attention_layernorm", bias=False)
        # Theirs is act(gate) * up.
        for path, key in (("up", "gate_proj"), ("gate", "up_proj"), ("down", "down_proj")):
            yield from dense(f"{ours}/mlp/{path}", f"{theirs}.mlp.{key}", bias=config.mlp_bias)
    yield from norm("encoder/final_norm", f"{prefix}norm", bias=False)


def _canonical_key(key: str) -> str:
    return PREFIX + key if key.startswith(("embed_tokens.", "layers.", "norm.")) else key


EUROBERT = Family(
    model_type="eurobert",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=_canonical_key,
    tied=lambda config: (
        {"lm_head.weight": "model.embed_tokens.weight"} if config.tie_word_embeddings else {}
    ),
    head_prefixes=("dense.", "lm_head.", "classifier."),
    poolings=frozenset({"cls", "mean"}),
    token_ids=tuple(SPECIAL),
)
