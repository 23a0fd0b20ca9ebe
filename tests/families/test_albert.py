"""ALBERT's published sizes, and which configurations are ALBERT's mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import AlbertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.albert import ALBERT
from jaxbert.nn.head import Head

# Parameters of transformers' AlbertModel at these sizes, counted with torch on the meta device.
# The paper's table 1 rounds up: 12M, 18M, 60M, 235M.
PUBLISHED = {
    "albert-base-v1": 11_683_584,
    "albert-large-v1": 17_683_968,
    "albert-xlarge-v1": 58_724_864,
    "albert-xxlarge-v1": 222_595_584,
    "albert-base-v2": 11_683_584,
    "albert-large-v2": 17_683_968,
    "albert-xlarge-v2": 58_724_864,
    "albert-xxlarge-v2": 222_595_584,
}

# config.json of albert-base-v2 as it lies on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["AlbertForMaskedLM"],
    "attention_probs_dropout_prob": 0,
    "bos_token_id": 2,
    "classifier_dropout_prob": 0.1,
    "down_scale_factor": 1,
    "embedding_size": 128,
    "eos_token_id": 3,
    "gap_size": 0,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "inner_group_num": 1,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "albert",
    "net_structure_type": 0,
    "num_attention_heads": 12,
    "num_hidden_groups": 1,
    "num_hidden_layers": 12,
    "num_memory_blocks": 0,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30000,
}
SIZES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    },
    "xlarge": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    },
    "xxlarge": {"hidden_size": 4096, "intermediate_size": 16384, "num_attention_heads": 64},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("size", SIZES)
def test_presets_are_the_configurations_on_the_hub(size: str):
    second = ON_THE_HUB | SIZES[size]
    assert ALBERT.config_from_hf(second) == preset(f"albert-{size}-v2")
    rate = 0 if size == "xxlarge" else 0.1
    dropout = {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
    first = second | dropout | {"hidden_act": "gelu"}
    assert ALBERT.config_from_hf(first) == preset(f"albert-{size}-v1")


def test_an_empty_config_means_what_it_means_to_transformers():
    defaults = AlbertConfig().to_dict()
    read = ALBERT.config_from_hf
    assert read({}) == read(defaults) == preset("albert-xxlarge-v2")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inner_group_num", 2),
        ("net_structure_type", 1),
        ("gap_size", 1),
        ("num_memory_blocks", 2),
        ("down_scale_factor", 2),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "mish"),
        ("num_hidden_groups", 13),
        ("embedding_size", 0),
        ("embedding_size", "128"),
        ("classifier_dropout_prob", "0.1"),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        ALBERT.config_from_hf({field: value})


@pytest.mark.parametrize("groups", [1, 2, 3, 5, 12])
def test_layers_share_parameters_by_groups(groups: int):
    config = replace(preset("albert-base-v2"), num_hidden_groups=groups)
    used = [config.stored_layer(layer) for layer in range(12)]
    assert used == [layer * groups // 12 for layer in range(12)]
    per_layer = num_parameters(preset("albert-base-v2")) - num_parameters(
        replace(preset("albert-base-v2"), num_hidden_layers=0, num_hidden_groups=None)
    )
    assert num_parameters(config) - PUBLISHED["albert-base-v2"] == (groups - 1) * per_layer


def test_groups_that_do_not_divide_the_layers_start_where_transformers_rounds_them():
    config = replace(preset("albert-base-v2"), num_hidden_layers=18, num_hidden_groups=14)
    assert (config.stored_layer(9), 9 * 14 // 18) == (6, 7)


def test_the_classifiers_dropout_is_the_familys_own_field():
    styles = ALBERT.config_from_hf({"classifier_dropout_prob": 0.3}).heads
    heads = ("next_sentence", "sequence_classification", "multiple_choice", "token_classification")
    assert {getattr(styles, name).dropout for name in heads} == {0.3}
    own = Head("token_classification", ("a", "b"), classifier_dropout=0.4)
    assert ALBERT.config_to_hf(preset("albert-base-v2"), own)["classifier_dropout_prob"] == 0.4
