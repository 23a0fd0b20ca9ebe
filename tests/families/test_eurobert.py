"""EuroBERT's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import EuroBertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.eurobert import EUROBERT, config_from_hf
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions

# Parameters of transformers' EuroBertModel at these sizes, counted with torch on the meta device.
PUBLISHED = {
    "eurobert-210m": 211_766_016,
    "eurobert-610m": 607_874_688,
    "eurobert-2.1b": 2_107_590_912,
}

# What matters of EuroBERT-210m's config.json on the Hub, which names the code of its time.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["EuroBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_eurobert.EuroBertConfig",
        "AutoModel": "modeling_eurobert.EuroBertModel",
        "AutoModelForMaskedLM": "modeling_eurobert.EuroBertForMaskedLM",
    },
    "bos_token_id": 128000,
    "clf_pooling": "late",
    "eos_token_id": 128001,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_dropout": 0.0,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "mask_token_id": 128002,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "eurobert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "num_key_value_heads": 12,
    "pad_token_id": 128001,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 250000,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}
M610 = {
    "hidden_size": 1152,
    "intermediate_size": 4096,
    "num_attention_heads": 18,
    "num_hidden_layers": 26,
    "num_key_value_heads": 6,
}
CHANGES: dict[str, dict[str, Any]] = {
    "eurobert-210m": {},
    "eurobert-610m": M610,
    "eurobert-2.1b": M610
    | {"head_dim": 128, "hidden_size": 2304, "intermediate_size": 6144, "num_hidden_layers": 32},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    assert config_from_hf(ON_THE_HUB | CHANGES[name]) == preset(name)


def test_an_empty_config_means_what_it_means_to_transformers():
    expected = replace(preset("eurobert-210m"), rotary=RotaryPositions(rope_theta=10000.0))
    assert config_from_hf({}) == config_from_hf(EuroBertConfig().to_dict()) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("head_dim", 32),
        ("num_key_value_heads", 5),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        ("rope_parameters", {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
        ("classifier_pooling", "max"),
        ("hidden_dropout", 0.1),
        ("hidden_act", "mish"),
        ("auto_map", {"AutoModel": "modeling_other.OtherModel"}),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


def test_poolings_have_names_of_their_own():
    for theirs, ours in (("bos", "cls"), ("mean", "mean"), ("late", "late")):
        config = config_from_hf({"classifier_pooling": theirs})
        assert config.heads.sequence_classification.pooling == ours
        assert EUROBERT.config_to_hf(config, Head())["classifier_pooling"] == theirs
    own = Head("sequence_classification", ("a", "b"), pooling="cls")
    assert EUROBERT.config_to_hf(preset("eurobert-210m"), own)["classifier_pooling"] == "bos"
