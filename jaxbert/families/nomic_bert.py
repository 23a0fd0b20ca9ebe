"""NomicBERT (Nussbaum et al. 2024): BERT with rotary positions, gated layers and few biases."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.errors import UserError
from jaxbert.families.bert import (
    FIELDS,
    classifier_dropout,
    tied_vocabulary,
    vocabulary_weights,
    with_classifier_dropout,
)
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
from jaxbert.families.weight import Weight, dense, fused, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import Activation, HeadStyles, RotaryPositions

PREFIX = "nomic_bert."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"

ARCHITECTURES: dict[str, HeadKind] = {
    "NomicBertModel": "none",
    "NomicBertForMaskedLM": "masked_lm",
    "NomicBertForSequenceClassification": "sequence_classification",
    "NomicBertForTokenClassification": "token_classification",
}

PUBLISHED = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "layer_norm_eps": "layer_norm_epsilon",
    "hidden_dropout_prob": "resid_pdrop",
    "attention_probs_dropout_prob": "attn_pdrop",
    "rope_theta": "rotary_emb_base",
}
"""transformers' fields, and what the authors' own code calls them, which is after GPT-2."""

GATES: dict[str, Activation] = {"swiglu": "silu", "geglu": "gelu"}
"""The authors' names of activations that multiply a second projection."""

AS_PUBLISHED = {
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "prenorm": False,
    "parallel_block": False,
    "causal": False,
    "use_rms_norm": False,
    "qkv_proj_bias": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "rotary_emb_scale_base": None,
    "rope_scaling": None,
}
"""Fields of the authors' code and the one value that transformers computes."""

DEFAULTS = EncoderConfig(
    model_type="nomic_bert",
    vocab_size=30528,
    hidden_act="silu",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=2048,
    position_embedding_type="none",
    attention_bias=False,
    rotary=RotaryPositions(rope_theta=1000.0),
    gated_mlp=True,
    mlp_bias=False,
    heads=HeadStyles(pooler=None),
)
"""What config.json leaves out."""

LONG = replace(DEFAULTS, max_position_embeddings=8192)
PRESETS = {
    "nomic-bert-2048": DEFAULTS,
    "nomic-embed-text-v1": LONG,
    "nomic-embed-text-v1.5": LONG,
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes, in transformers' words or the authors'.

    Raises UserError for a field that asks for something else than NomicBERT's mathematics.
    """
    hf = without_own_code(hf, "_nomic_bert.NomicBert")
    if hf.get("moe_every_n_layers") not in (None, 0, -1):
        raise UserError(
            f"moe_every_n_layers={hf['moe_every_n_layers']!r} is not implemented for nomic_bert: "
            "expected a model without experts, such as nomic-embed-text-v1.5"
        )
    refuse_other_mathematics(hf, "nomic_bert", AS_PUBLISHED)
    names = {name: _spelling(name, hf) for name in FIELDS}
    config = replace(DEFAULTS, **(read_fields(hf, names) | padding_of(hf) | _longest(hf)))
    width = config.hidden_size // config.num_attention_heads
    refuse_other_mathematics(hf, "nomic_bert", {"head_dim": width})
    base = rope_theta(hf.get("rope_parameters"), hf.get(_spelling("rope_theta", hf), 1000.0))
    return replace(
        config,
        hidden_act=_gate(hf),
        rotary=RotaryPositions(rope_theta=base),
        heads=with_classifier_dropout(DEFAULTS.heads, _classifier_dropout(hf)),
    )


def _spelling(name: str, hf: Mapping[str, Any]) -> str:
    """What a file calls a field: what transformers does, where both are there."""
    return name if name in hf else PUBLISHED.get(name, name)


def _gate(hf: Mapping[str, Any]) -> Activation:
    name = hf.get("activation_function", "swiglu")
    if name not in GATES:
        raise UserError(
            f"activation_function={name!r} is not implemented for nomic_bert: expected one of "
            f"{', '.join(GATES)}"
        )
    return activation(hf, "hidden_act", GATES[name])


def _classifier_dropout(hf: Mapping[str, Any]) -> float | None:
    """None, that of the layers, also where the authors' rate is the same."""
    if "classifier_dropout" in hf:
        return rate(hf, "classifier_dropout")
    own = rate(hf, "embd_pdrop")
    return None if own == rate(hf, "resid_pdrop") else own


def _longest(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The authors' `n_positions`, up to which the rotation is the plain one.

    With a `rotary_scaling_factor` their code turns rows that are longer than those of training by
    other angles. `max_position_embeddings` beside it is training's length.
    """
    if hf.get("n_positions") is None:
        return {}
    positions = int(number("n_positions", hf["n_positions"], whole=True))
    if not hf.get("rotary_scaling_factor"):
        return {"max_position_embeddings": positions}
    trained = hf.get("max_trained_positions", DEFAULTS.max_position_embeddings)
    plain = int(number("max_trained_positions", trained, whole=True))
    return {"max_position_embeddings": min(positions, plain)}


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of NomicBERT's config.json."""
    rotary = config.rotary
    rope = {} if rotary is None else {"rope_theta": rotary.rope_theta}
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "head_dim": config.hidden_size // config.num_attention_heads,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout": classifier_dropout(config, head),
        "rope_parameters": {"rope_type": "default", **rope},
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """NomicBERT's table of names, which in files are the authors' own.

    Of all classes, NomicBertModel alone saves the encoder unprefixed.
    """
    prefix = "" if head.kind == "none" else PREFIX
    table = list(_encoder_weights(config, prefix))
    if head.kind == "sequence_classification":
        table += dense("pooler/dense", f"{prefix}pooler.dense")
    if head.has_masked_lm:
        table += _masked_lm_weights(config)
    if head.num_outputs:
        table += dense("classifier/dense", "classifier")
    return tuple(table)


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
            f"{theirs}.attn.Wqkv",
            bias=False,
            apart=[f"{theirs}.self_attn.{name[0]}_proj" for name in names],
        )
        yield from dense(f"{ours}/attention/output", f"{theirs}.attn.out_proj", bias=False)
        yield from norm(f"{ours}/attention_norm", f"{theirs}.norm1")
        # Theirs is act(fc12) * fc11.
        for path, key in (("up", "fc12"), ("gate", "fc11"), ("down", "fc2")):
            yield from dense(f"{ours}/mlp/{path}", f"{theirs}.mlp.{key}", bias=False)
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.norm2")


def _masked_lm_weights(config: EncoderConfig) -> Iterator[Weight]:
    """The authors' head has neither bias: where a file holds none, it is zero."""
    kernel, bias = dense("masked_lm/dense", "cls.predictions.transform.dense")
    yield kernel
    yield replace(bias, zero_beside=kernel.key)
    yield from norm("masked_lm/norm", "cls.predictions.transform.layer_norm")
    for row in vocabulary_weights(config, "cls.predictions"):
        is_bias = row.path == "masked_lm/bias"
        yield replace(row, zero_beside=kernel.key) if is_bias else row


RENAMED = {
    "embeddings.LayerNorm.": "emb_ln.",
    ".self_attn.o_proj.": ".attn.out_proj.",
    ".mlp.up_proj.": ".mlp.fc11.",
    ".mlp.gate_proj.": ".mlp.fc12.",
    ".mlp.down_proj.": ".mlp.fc2.",
    ".post_attention_layernorm.": ".norm1.",
    ".post_mlp_layernorm.": ".norm2.",
}
"""Names in transformers' modules, and in the files that transformers writes."""
LAYERS = "encoder.layers."


def _canonical_key(key: str) -> str:
    # In the authors' own code the encoder of a model with a head is `bert`.
    key = filed_name(key.removeprefix(PREFIX).removeprefix("bert."), RENAMED, LAYERS)
    return (
        PREFIX + key if key.startswith(("embeddings.", "emb_ln.", "encoder.", "pooler.")) else key
    )


NOMIC_BERT = Family(
    model_type="nomic_bert",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    former_architectures={"NomicBertForPreTraining": "masked_lm"},
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=_canonical_key,
    module_key=partial(module_name, renamed=RENAMED, layers=LAYERS),
    tied=lambda config: tied_vocabulary(config, "cls.predictions", WORDS),
    head_prefixes=(f"{PREFIX}pooler.", "cls.", "classifier."),
)
