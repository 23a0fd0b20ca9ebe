"""NomicBERT's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import NomicBertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.nomic_bert import NOMIC_BERT, config_from_hf
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions

# Of transformers' NomicBertModel at these sizes, counted with torch on the meta device.
PARAMETERS = 136_731_648

CODE = "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBert"
# The fields of the authors' class that act, as its published files have them.
ON_THE_HUB: dict[str, Any] = {
    "activation_function": "swiglu",
    "architectures": ["NomicBertModel"],
    "attn_pdrop": 0.0,
    "auto_map": {
        "AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
        "AutoModel": f"{CODE}Model",
        "AutoModelForMaskedLM": f"{CODE}ForPreTraining",
    },
    "causal": False,
    "embd_pdrop": 0.0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "model_type": "nomic_bert",
    "n_embd": 768,
    "n_head": 12,
    "n_inner": 3072,
    "n_layer": 12,
    "n_positions": 8192,
    "pad_vocab_size_multiple": 64,
    "parallel_block": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "resid_pdrop": 0.0,
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_weights": True,
    "type_vocab_size": 2,
    "use_rms_norm": False,
    "vocab_size": 30528,
}
# What transformers' class adds to the same file.
TODAYS: dict[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 768,
    "max_position_embeddings": 2048,
    "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
}


@pytest.mark.parametrize("name", NOMIC_BERT.presets)
def test_presets_have_the_published_parameter_count(name: str):
    assert num_parameters(preset(name)) == PARAMETERS


@pytest.mark.parametrize("added", [{}, TODAYS], ids=["as published", "with today's fields"])
def test_presets_are_the_configurations_on_the_hub(added: dict[str, Any]):
    assert config_from_hf(ON_THE_HUB | added) == preset("nomic-embed-text-v1.5")
    short = ON_THE_HUB | added | {"n_positions": 2048}
    assert config_from_hf(short) == preset("nomic-bert-2048")


def test_an_empty_config_means_what_it_means_to_transformers():
    expected = preset("nomic-bert-2048")
    assert config_from_hf({}) == config_from_hf(NomicBertConfig().to_dict()) == expected


def test_the_authors_fields_are_the_ones_that_transformers_names_otherwise():
    authors = {
        "n_embd": 24,
        "n_layer": 3,
        "n_head": 4,
        "n_inner": 36,
        "n_positions": 80,
        "layer_norm_epsilon": 1e-6,
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.2,
        "embd_pdrop": 0.3,
        "rotary_emb_base": 500,
        "activation_function": "geglu",
    }
    todays = NomicBertConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=36,
        max_position_embeddings=80,
        layer_norm_eps=1e-6,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.2,
        classifier_dropout=0.3,
        rope_theta=500.0,
        hidden_act="gelu",
    )
    found = config_from_hf(authors)
    assert found == config_from_hf(todays.to_dict())
    assert found.rotary == RotaryPositions(rope_theta=500.0)


@pytest.mark.parametrize(
    ("factor", "length"), [(2, 2048), (2.0, 2048), (1, 2048), (None, 8192), (0.0, 8192)]
)
def test_rows_are_as_long_as_the_authors_rotation_is_the_plain_one(factor: Any, length: int):
    config = config_from_hf(ON_THE_HUB | TODAYS | {"rotary_scaling_factor": factor})
    assert config == replace(preset("nomic-bert-2048"), max_position_embeddings=length)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_function", "gelu"),
        ("activation_function", "glu"),
        ("auto_map", {"AutoModel": "modeling_other.OtherModel"}),
        ("causal", True),
        ("head_dim", 32),
        ("hidden_act", "mish"),
        ("is_decoder", True),
        ("mlp_fc1_bias", True),
        ("mlp_fc2_bias", True),
        ("moe_every_n_layers", 2),
        ("n_inner", None),
        ("n_positions", "long"),
        ("parallel_block", True),
        ("prenorm", True),
        ("qkv_proj_bias", True),
        ("rope_parameters", {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
        ("rope_scaling", {"rope_type": "dynamic", "factor": 2.0}),
        ("rotary_emb_fraction", 0.5),
        ("rotary_emb_interleaved", True),
        ("rotary_emb_scale_base", 512),
        ("use_rms_norm", True),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


def test_every_field_of_transformers_class_is_written():
    """But for the tokens that it names and does not use."""
    config = replace(preset("nomic-bert-2048"), hidden_dropout_prob=0.25)
    written = NOMIC_BERT.config_to_hf(config, Head())
    own = set(NomicBertConfig.__annotations__) - {"bos_token_id", "eos_token_id", "model_type"}
    assert own <= set(written)
    theirs = NomicBertConfig(**written).to_dict()
    assert {name: theirs[name] for name in written} == written
