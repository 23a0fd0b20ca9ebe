"""GTE's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from counting import num_parameters
from transformers import GteConfig

from jaxbert.errors import UserError
from jaxbert.families import family_of, preset
from jaxbert.families.gte import GTE, config_from_hf
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions
from jaxbert.nn.rotary import rotation

# Parameters of transformers' GteModel at these sizes, counted with torch on the meta device.
PARAMETERS = {
    "gte-multilingual-mlm-base": 305_368_320,
    "gte-multilingual-base": 305_368_320,
    "gte-base-en-v1.5": 136_776_192,
    "gte-large-en-v1.5": 434_139_136,
}

CODE = "Alibaba-NLP/new-impl--modeling.New"
# The fields of the authors' class.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["NewModel"],
    "attention_probs_dropout_prob": 0.0,
    "auto_map": {
        "AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
        "AutoModel": f"{CODE}Model",
        "AutoModelForMaskedLM": f"{CODE}ForMaskedLM",
    },
    "classifier_dropout": None,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "layer_norm_type": "layer_norm",
    "logn_attention_clip1": False,
    "logn_attention_scale": False,
    "max_position_embeddings": 8192,
    "model_type": "new",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pack_qkv": True,
    "pad_token_id": 1,
    "position_embedding_type": "rope",
    "rope_scaling": {"factor": 8.0, "type": "ntk"},
    "rope_theta": 20000,
    "type_vocab_size": 1,
    "unpad_inputs": False,
    "use_memory_efficient_attention": False,
    "vocab_size": 250048,
}
ENGLISH = {"pad_token_id": 0, "vocab_size": 30528}
CHANGES: dict[str, dict[str, Any]] = {
    "gte-multilingual-base": {},
    "gte-multilingual-mlm-base": {"rope_scaling": None, "rope_theta": 160000},
    "gte-base-en-v1.5": ENGLISH
    | {"rope_scaling": None, "rope_theta": 500000, "type_vocab_size": 0},
    "gte-large-en-v1.5": ENGLISH
    | {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "rope_scaling": {"factor": 2.0, "type": "ntk"},
        "rope_theta": 160000,
        "type_vocab_size": 2,
    },
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_the_parameter_counts_of_transformers_class(name: str):
    assert num_parameters(preset(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_configurations_of_the_authors_code(name: str):
    assert config_from_hf(ON_THE_HUB | CHANGES[name]) == preset(name)


def test_the_model_type_of_the_authors_code_is_gte():
    assert family_of("new") is family_of("gte") is GTE


def test_an_empty_config_means_what_it_means_to_transformers():
    expected = preset("gte-multilingual-mlm-base")
    assert config_from_hf({}) == config_from_hf(GteConfig().to_dict()) == expected


def test_what_the_authors_code_takes_for_missing_fields_is_its_own():
    found = config_from_hf({"model_type": "new"})
    assert (found.vocab_size, found.max_position_embeddings) == (30528, 2048)
    assert found.rotary == RotaryPositions(rope_theta=10000.0)


def test_their_scaling_is_a_larger_base_and_slower_positions():
    """By its definition: frequency i is (base s)^(-2i / width) / s^(2 / width)."""
    rotary = config_from_hf(ON_THE_HUB).rotary
    assert rotary is not None
    frequencies = (20000.0 * 8.0) ** (-np.arange(0, 64, 2) / 64) / 8.0 ** (2 / 64)
    found = rotation(100, 64, rotary.rope_theta, rotary.factor)
    angles = np.arange(100)[:, None] * frequencies
    np.testing.assert_allclose(found.cosine, np.cos(angles), atol=1e-5)
    np.testing.assert_allclose(found.sine, np.sin(angles), atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("auto_map", {"AutoModel": "modeling_other.OtherModel"}),
        ("head_dim", 32),
        ("hidden_act", "mish"),
        ("is_decoder", True),
        ("factor", 0.0),
        ("factor", None),
        ("rope_parameters", {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
        ("rope_scaling", {"type": "ntk", "factor": 2.0}),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    given = {field: value}
    if field == "factor":
        given = {"rope_parameters": {"rope_type": "linear", "factor": value}}
    with pytest.raises(UserError, match=field):
        config_from_hf(given)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "relu"),
        ("layer_norm_type", "rms_norm"),
        ("logn_attention_scale", True),
        ("position_embedding_type", "absolute"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_scaling", {"type": "ntk", "factor": 2.0, "mixed_b": 0.6}),
    ],
)
def test_what_transformers_left_out_of_the_authors_code_is_refused(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf(ON_THE_HUB | {field: value})


def test_every_field_of_transformers_class_is_written():
    """But for the tokens that it names and does not use."""
    rates = {"hidden_dropout_prob": 0.25, "mlp_dropout_prob": 0.25}
    config = replace(preset("gte-multilingual-base"), **rates)
    written = GTE.config_to_hf(config, Head())
    assert set(GteConfig.__annotations__) - {"bos_token_id", "eos_token_id"} <= set(written)
    theirs = GteConfig(**written).to_dict()
    assert {name: theirs[name] for name in written} == written
    assert config_from_hf(written) == config
