"""GTE (Zhang et al. 2024, mGTE): BERT with rotary positions and gated layers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.errors import UserError
from jaxbert.families.bert import FIELDS, classifier_dropout, with_classifier_dropout
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    number,
    padding_of,
    rate,
    read_fields,
    refuse_other_mathematics,
    rope_theta,
    without_own_code,
    write_fields,
)
from jaxbert.families.renamed import filed_name, module_name
from jaxbert.families.weight import Weight, classifier_key, dense, fused, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import HeadStyle, HeadStyles, RotaryPositions

PREFIX = "gte."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"
PUBLISHED = "new"
"""The model_type, and the prefix, of files for the authors' own code."""

ARCHITECTURES: dict[str, HeadKind] = {
    "GteModel": "none",
    "GteForMaskedLM": "masked_lm",
    "GteForSequenceClassification": "sequence_classification",
    "GteForTokenClassification": "token_classification",
}
FORMER: dict[str, HeadKind] = {
    "NewModel": "none",
    "NewForMaskedLM": "masked_lm",
    "NewForSequenceClassification": "sequence_classification",
    "NewForTokenClassification": "token_classification",
    "NewForQuestionAnswering": "question_answering",
    "NewForMultipleChoice": "multiple_choice",
}

PLAIN = {
    "hidden_act": "gelu",
    "position_embedding_type": "rope",
    "layer_norm_type": "layer_norm",
    "logn_attention_scale": False,
}
"""Fields of the authors' code and the one value that transformers computes."""

LEFT_OUT = {
    "vocab_size": 30528,
    "max_position_embeddings": 2048,
    "pad_token_id": None,
    "rope_theta": 10000.0,
    "rope_scaling": None,
}
"""What the authors' code takes for fields that its files leave out, where transformers does not."""

DEFAULTS = EncoderConfig(
    model_type="gte",
    vocab_size=250048,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=8192,
    type_vocab_size=1,
    pad_token_id=1,
    position_embedding_type="none",
    rotary=RotaryPositions(rope_theta=160000.0),
    gated_mlp=True,
    mlp_bias=False,
    mlp_output_bias=True,
    mlp_dropout_prob=0.1,
    heads=HeadStyles(pooler=None, masked_lm=HeadStyle("gelu", norm=True, dropout=0.0)),
)
"""What config.json leaves out."""


def ntk(base: float, factor: float, width: int) -> RotaryPositions:
    """The authors' scaling for heads of `width`: a larger base, and linear scaling beside it."""
    return RotaryPositions(rope_theta=base * factor, factor=factor ** (2 / width))


ENGLISH = replace(DEFAULTS, vocab_size=30528, pad_token_id=0)
PRESETS = {
    "gte-multilingual-mlm-base": DEFAULTS,
    "gte-multilingual-base": replace(DEFAULTS, rotary=ntk(20000.0, 8.0, 64)),
    "gte-base-en-v1.5": replace(
        ENGLISH, type_vocab_size=0, rotary=RotaryPositions(rope_theta=500000.0)
    ),
    "gte-large-en-v1.5": replace(
        ENGLISH,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        type_vocab_size=2,
        rotary=ntk(160000.0, 2.0, 64),
    ),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes, of transformers or of the authors' code.

    Raises UserError for a field that asks for something else than GTE's mathematics.
    """
    hf = without_own_code(hf, "modeling.New", "configuration.New")
    is_published = hf.get("model_type") == PUBLISHED
    hf = LEFT_OUT | hf if is_published else hf
    refuse_other_mathematics(hf, "gte", PLAIN if is_published else {"rope_scaling": None})
    config = replace(DEFAULTS, **(read_fields(hf, FIELDS) | padding_of(hf)))
    width = config.hidden_size // config.num_attention_heads
    refuse_other_mathematics(hf, "gte", {"head_dim": width})
    return replace(
        config,
        hidden_act=activation(hf, "hidden_act", "gelu"),
        mlp_dropout_prob=config.hidden_dropout_prob,
        rotary=_published_rotary(hf, width) if is_published else _rotary(hf),
        heads=with_classifier_dropout(DEFAULTS.heads, rate(hf, "classifier_dropout")),
    )


def _rotary(hf: Mapping[str, Any]) -> RotaryPositions:
    given, base = hf.get("rope_parameters"), hf.get("rope_theta", 160000.0)
    if not isinstance(given, Mapping) or given.get("rope_type") != "linear":
        return RotaryPositions(rope_theta=rope_theta(given, base))
    others = {name: value for name, value in given.items() if name not in ("rope_type", "factor")}
    factor = float(number("factor", given.get("factor"), whole=False))
    return RotaryPositions(rope_theta=rope_theta(others, base), factor=factor)


def _published_rotary(hf: Mapping[str, Any], width: int) -> RotaryPositions:
    base, scaling = float(number("rope_theta", hf["rope_theta"], whole=False)), hf["rope_scaling"]
    if scaling is None:
        return RotaryPositions(rope_theta=base)
    known = {"type": "ntk", "mixed_b": None}
    if not isinstance(scaling, Mapping) or any(
        name != "factor" and known.get(name, "") != value for name, value in scaling.items()
    ):
        raise UserError(
            f"rope_scaling={scaling!r} is not implemented for gte: expected type 'ntk' and a factor"
        )
    return ntk(base, float(number("factor", scaling.get("factor"), whole=False)), width)


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of GTE's config.json."""
    rotary = config.rotary
    rope: dict[str, Any] = {"rope_type": "default"}
    if rotary is not None:
        scaled = {"rope_type": "linear", "factor": rotary.factor}
        rope = {**(rope if rotary.factor == 1.0 else scaled), "rope_theta": rotary.rope_theta}
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout": classifier_dropout(config, head),
        "rope_parameters": rope,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """GTE's table of names, which in files are the authors' own.

    Of all classes, GteModel alone saves the encoder unprefixed.
    """
    prefix = "" if head.kind == "none" else PREFIX
    table = list(_encoder_weights(config, prefix))
    if head.kind in ("sequence_classification", "multiple_choice"):
        table += dense("pooler/dense", f"{prefix}pooler.dense")
    if head.has_masked_lm:
        table += dense("masked_lm/dense", "lm_head.dense")
        table += norm("masked_lm/norm", "lm_head.norm")
        table.append(Weight("masked_lm/bias", "lm_head.decoder.bias", "pad_vocab"))
        if not config.tie_word_embeddings:
            table.append(Weight("masked_lm/decoder", "lm_head.decoder.weight", "pad_vocab"))
    if head.num_outputs:
        table += dense("classifier/dense", classifier_key(head))
    return tuple(table)


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    if config.type_vocab_size:
        yield Weight(f"{ours}/token_type/embedding", f"{theirs}.token_type_embeddings.weight")
    yield from norm(f"{ours}/norm", f"{theirs}.LayerNorm")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        names = ("query", "key", "value")
        yield from fused(
            [f"{ours}/attention/{name}" for name in names],
            f"{theirs}.attention.qkv_proj",
            apart=[f"{theirs}.attention.{name[0]}_proj" for name in names],
        )
        yield from dense(f"{ours}/attention/output", f"{theirs}.attention.o_proj")
        yield from norm(f"{ours}/attention_norm", f"{theirs}.attn_ln")
        # Theirs is act(gate) * up.
        yield from fused(
            [f"{ours}/mlp/gate", f"{ours}/mlp/up"],
            f"{theirs}.mlp.up_gate_proj",
            bias=False,
            apart=[f"{theirs}.mlp.up_proj", f"{theirs}.mlp.gate_proj"],
        )
        yield from dense(f"{ours}/mlp/down", f"{theirs}.mlp.down_proj")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.mlp_ln")


RENAMED = {
    ".self_attn.": ".attention.",
    ".post_attention_layernorm.": ".attn_ln.",
    ".post_mlp_layernorm.": ".mlp_ln.",
    "lm_head.layer_norm.": "lm_head.norm.",
}
"""Names in transformers' modules, and in the files that transformers writes."""
LAYERS = "encoder.layer."


def _canonical_key(key: str) -> str:
    key = filed_name(key.removeprefix(PREFIX).removeprefix(f"{PUBLISHED}."), RENAMED, LAYERS)
    return PREFIX + key if key.startswith(("embeddings.", "encoder.", "pooler.")) else key


GTE = Family(
    model_type="gte",
    former_model_type=PUBLISHED,
    presets=PRESETS,
    architectures=ARCHITECTURES,
    former_architectures=FORMER,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=_canonical_key,
    module_key=partial(module_name, renamed=RENAMED, layers=LAYERS),
    tied=lambda config: {"lm_head.decoder.weight": WORDS} if config.tie_word_embeddings else {},
    head_prefixes=(f"{PREFIX}pooler.", "lm_head.", "classifier.", "qa_outputs."),
)
