"""ESM-2 (Lin et al. 2022) and ESM-1b (Rives et al. 2019): encoders of proteins.

A norm before every block, rotary positions or RoBERTa's, and masks that are dropped from the input.
Their regression on contacts reads attention weights alone, and is no part of a model
(`hub/contacts.py` reads it).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from jaxbert.errors import UserError
from jaxbert.families.bert import FIELDS as BERT_FIELDS
from jaxbert.families.bert import canonical_key
from jaxbert.families.family import Constants, Family
from jaxbert.families.fields import number, read_fields, refuse_other_mathematics, write_fields
from jaxbert.families.roberta import head_styles
from jaxbert.families.weight import Weight, dense, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import RotaryPositions
from jaxbert.nn.rotary import frequencies

PREFIX = "esm."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"
CONTACTS = f"{PREFIX}contact_head."
TURNS = "rotary_embeddings.inv_freq"
"""What tensors with a turn a position end in: one of every layer, or one of all."""

ARCHITECTURES: dict[str, HeadKind] = {
    "EsmModel": "none",
    "EsmForMaskedLM": "masked_lm",
    "EsmForSequenceClassification": "sequence_classification",
    "EsmForTokenClassification": "token_classification",
}

FIELDS = {ours: theirs for ours, theirs in BERT_FIELDS.items() if ours != "type_vocab_size"}
# transformers takes these for false, and these for no token, where they are null.
NULLABLE = {
    "embedding_norm": "emb_layer_norm_before",
    "token_dropout": "token_dropout",
    "mask_token_id": "mask_token_id",
    "pad_token_id": "pad_token_id",
}
FREQUENCIES = "jaxbert_rotary_frequencies"
"""A field of ours: what transformers has in a tensor alone."""
FIXED = {
    "is_folding_model": False,
    "hidden_act": "gelu",
    "rope_scaling": None,
    "rope_parameters": None,
}

DEFAULTS = EncoderConfig(
    model_type="esm",
    vocab_size=33,
    max_position_embeddings=1026,
    type_vocab_size=0,
    pad_token_id=1,
    position_embedding_type="after_padding",
    embedding_norm=False,
    embedding_dropout_prob=0.0,
    norm_placement="pre",
    heads=head_styles(),
)
"""What config.json leaves out; the published models state what differs in ESM-2."""


def _size(layers: int, hidden: int, heads: int = 20) -> EncoderConfig:
    return replace(
        DEFAULTS,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5,
        position_embedding_type="none",
        rotary=RotaryPositions(),
        token_dropout=True,
        mask_token_id=32,
    )


PRESETS = {
    "esm2_t6_8M": _size(6, 320),
    "esm2_t12_35M": _size(12, 480),
    "esm2_t30_150M": _size(30, 640),
    "esm2_t33_650M": _size(33, 1280),
    "esm2_t36_3B": _size(36, 2560, 40),
    "esm2_t48_15B": _size(48, 5120, 40),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than ESM's mathematics, such as
    ESMFold's.
    """
    refuse_other_mathematics(hf, "esm", FIXED)
    stated = {name: value for name, value in hf.items() if value is not None}
    fields = read_fields(hf, FIELDS) | read_fields(stated, NULLABLE)
    kind = hf.get("position_embedding_type") or "absolute"
    if kind not in ("absolute", "rotary"):
        raise UserError(
            f"position_embedding_type={kind!r} is not implemented for esm: expected 'absolute' or "
            "'rotary'"
        )
    if kind == "rotary":
        config = replace(DEFAULTS, **fields)
        width = config.hidden_size // config.num_attention_heads
        refuse_other_mathematics(hf, "esm", {"head_dim": width})
        base = number("rope_theta", hf.get("rope_theta", 10000.0), whole=False)
        rotary = RotaryPositions(rope_theta=float(base), frequencies=_own_frequencies(hf))
        fields |= {"position_embedding_type": "none", "rotary": rotary}
    return replace(DEFAULTS, **fields)


def _own_frequencies(hf: Mapping[str, Any]) -> tuple[float, ...] | None:
    given = hf.get(FREQUENCIES)
    if given is None:
        return None
    if not isinstance(given, list):
        raise UserError(f"{FREQUENCIES}={given!r}: expected a list of numbers")
    return tuple(float(number(FREQUENCIES, frequency, whole=False)) for frequency in given)


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of ESM's config.json. Every head goes by `hidden_dropout_prob`."""
    rotary = config.rotary
    own = {}
    if rotary is not None and rotary.frequencies is not None:
        own = {FREQUENCIES: list(rotary.frequencies)}
    return {
        **write_fields(config, FIELDS | NULLABLE),
        "position_embedding_type": "absolute" if rotary is None else "rotary",
        "rope_theta": 10000.0 if rotary is None else rotary.rope_theta,
        # Theirs is GELU whatever this says, which transformers 4 wrote.
        "hidden_act": "gelu",
        "is_folding_model": False,
        **own,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """ESM's table of names. Of all classes, the plain encoder alone is saved unprefixed."""
    table = list(_encoder_weights(config, "" if head.kind == "none" else PREFIX))
    if head.kind == "none":
        table += dense("pooler/dense", "pooler.dense")
    if head.kind == "sequence_classification":
        table += dense("pooler/dense", "classifier.dense")
        table += dense("classifier/dense", "classifier.out_proj")
    elif head.num_outputs:
        table += dense("classifier/dense", "classifier")
    if head.has_masked_lm:
        table += dense("masked_lm/dense", "lm_head.dense")
        table += norm("masked_lm/norm", "lm_head.layer_norm")
        table.append(Weight("masked_lm/bias", "lm_head.bias", "pad_vocab"))
    if head.has_masked_lm and not config.tie_word_embeddings:
        table.append(Weight("masked_lm/decoder", "lm_head.decoder.weight", "pad_vocab"))
    return tuple(table)


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    if config.position_embedding_type != "none":
        yield Weight(f"{ours}/position/embedding", f"{theirs}.position_embeddings.weight")
    if config.embedding_norm:
        yield from norm(f"{ours}/norm", f"{theirs}.layer_norm")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        yield from norm(f"{ours}/attention_norm", f"{theirs}.attention.LayerNorm")
        for name in ("query", "key", "value"):
            yield from dense(f"{ours}/attention/{name}", f"{theirs}.attention.self.{name}")
        yield from dense(f"{ours}/attention/output", f"{theirs}.attention.output.dense")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.LayerNorm")
        yield from dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense")
        yield from dense(f"{ours}/mlp/down", f"{theirs}.output.dense")
    yield from norm("encoder/final_norm", f"{prefix}encoder.emb_layer_norm_after")


def _turns(config: EncoderConfig) -> np.ndarray:
    assert config.rotary is not None
    if config.rotary.frequencies is not None:
        return np.array(config.rotary.frequencies, np.float32)
    return frequencies(config.hidden_size // config.num_attention_heads, config.rotary.rope_theta)


def _with_turns(config: EncoderConfig, found: Mapping[str, np.ndarray]) -> EncoderConfig:
    """The architecture with the frequencies that the files hold, as transformers takes them.

    Those of the published models went through training in float16, which rounds a turn by up to
    2.4e-4 radians: a quarter of one at position 1,000.
    """
    if config.rotary is None:
        return config
    (first, turns), *others = ((key, found[key].astype(np.float32)) for key in found)
    for key, other in others:
        if not np.array_equal(other, turns):
            raise UserError(f"{key} differs from {first}: expected layers that turn alike")
    plain = replace(config, rotary=replace(config.rotary, frequencies=None))
    computed = _turns(plain)
    if turns.shape != computed.shape:
        raise UserError(f"{first} is {list(turns.shape)}, expected {list(computed.shape)}")
    if np.allclose(turns, computed, rtol=1e-6, atol=0):
        return plain
    own = replace(config.rotary, frequencies=tuple(turns.tolist()))
    return replace(config, rotary=own)


def _written_turns(config: EncoderConfig, head: Head) -> dict[str, np.ndarray]:
    """One of every layer: transformers 4 has no other place for it, and 5 takes the first."""
    if config.rotary is None:
        return {}
    prefix = "" if head.kind == "none" else PREFIX
    turns = _turns(config)
    return {
        f"{prefix}encoder.layer.{index}.attention.self.{TURNS}": turns
        for index in range(config.num_hidden_layers)
    }


ESM = Family(
    model_type="esm",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=partial(
        canonical_key,
        prefix=PREFIX,
        bare=("embeddings.", "encoder.", "pooler.", "contact_head.", "rotary_embeddings."),
    ),
    tied=lambda config: {"lm_head.decoder.weight": WORDS} if config.tie_word_embeddings else {},
    buffers=frozenset({f"{PREFIX}embeddings.position_ids"}),
    constants=Constants(lambda name: name.endswith(TURNS), _with_turns, _written_turns),
    token_ids=("eos_token_id",),
    left_out=(CONTACTS,),
    head_prefixes=(
        *(f"{PREFIX}pooler.", "lm_head.", "classifier.", CONTACTS),
        # Files of rotary models hold a table that does nothing.
        f"{PREFIX}embeddings.position_embeddings.",
    ),
)
