"""MegatronBERT (Shoeybi et al. 2019): BERT with norms before the blocks, none of the embeddings."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import BERT, FIELDS, NormKeys, weights
from jaxbert.families.fields import (
    activation,
    padding_of,
    read_fields,
    refuse_other_mathematics,
    write_fields,
)
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head

DEFAULTS = EncoderConfig(
    model_type="megatron-bert",
    vocab_size=29056,
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    embedding_norm=False,
    norm_placement="pre",
)
"""What config.json leaves out."""

UNCASED = replace(DEFAULTS, vocab_size=30592)
PRESETS = {
    # BERT's vocabularies, filled up to a multiple of 128.
    "megatron-bert-cased-345m": DEFAULTS,
    "megatron-bert-uncased-345m": UNCASED,
    # The other sizes of the paper (table 4), whose weights are not published.
    "megatron-bert-uncased-1.3b": replace(
        UNCASED, hidden_size=2048, num_attention_heads=32, intermediate_size=8192
    ),
    "megatron-bert-uncased-3.9b": replace(
        UNCASED,
        hidden_size=2560,
        num_hidden_layers=48,
        num_attention_heads=40,
        intermediate_size=10240,
    ),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than MegatronBERT's mathematics.
    """
    refuse_other_mathematics(hf, "megatron-bert", {"position_embedding_type": "absolute"})
    return replace(
        DEFAULTS,
        **(read_fields(hf, FIELDS) | padding_of(hf)),
        hidden_act=activation(hf, "hidden_act", "gelu"),
    )


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of MegatronBERT's config.json. Every head goes by `hidden_dropout_prob`."""
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "use_cache": True,
    }


MEGATRON_BERT = replace(
    BERT,
    model_type="megatron-bert",
    presets=PRESETS,
    architectures={f"Megatron{name}": kind for name, kind in BERT.architectures.items()},
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=partial(weights, norms=NormKeys("attention.ln", "ln", "encoder.ln")),
    # As the paper has it (section 4.2); transformers' class only gives the two logits.
    sentence_pairs="sentence_order",
)
