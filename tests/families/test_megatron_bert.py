"""MegatronBERT's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import MegatronBertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.megatron_bert import MEGATRON_BERT, config_from_hf
from jaxbert.nn.head import Head

# config.json of EMBO/BioMegatron345mUncased, and of IDEA-CCNL/Erlangshen-MegatronBert-3.9B-Chinese,
# in the fields that tell sizes.
BIOMEDICAL: dict[str, Any] = {
    "model_type": "megatron-bert",
    "hidden_act": "gelu_new",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "max_position_embeddings": 512,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "position_embedding_type": "absolute",
    "vocab_size": 30592,
}
CHINESE = BIOMEDICAL | {
    "hidden_act": "gelu",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_attention_heads": 40,
    "num_hidden_layers": 48,
    "vocab_size": 21248,
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("megatron-bert-cased-345m", 333_640_704),
        ("megatron-bert-uncased-345m", 335_213_568),
        ("megatron-bert-uncased-1.3b", 1_276_504_064),
        ("megatron-bert-uncased-3.9b", 3_862_663_680),
    ],
)
def test_presets_have_the_parameter_counts_of_transformers_class(name: str, count: int):
    """Of MegatronBertModel, counted with torch on the meta device."""
    assert num_parameters(preset(name)) == count


def test_an_empty_config_is_the_published_cased_model():
    read = config_from_hf(MegatronBertConfig().to_dict())
    assert config_from_hf({}) == read == preset("megatron-bert-cased-345m")


@pytest.mark.parametrize(
    ("fields", "name", "other"),
    [
        (BIOMEDICAL, "megatron-bert-uncased-345m", {"hidden_act": "gelu_new"}),
        (CHINESE, "megatron-bert-uncased-3.9b", {"vocab_size": 21248}),
    ],
)
def test_published_models_have_the_presets_sizes(
    fields: dict[str, Any], name: str, other: dict[str, Any]
):
    assert config_from_hf(fields) == replace(preset(name), **other)


def test_every_field_of_transformers_class_comes_back():
    given = {
        "vocab_size": 99,
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 7,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.2,
        "max_position_embeddings": 50,
        "type_vocab_size": 3,
        "initializer_range": 0.5,
        "layer_norm_eps": 1e-3,
        "pad_token_id": 4,
        "tie_word_embeddings": False,
        "use_cache": True,
    }
    written = MEGATRON_BERT.config_to_hf(config_from_hf(given), Head())
    assert written == given
    # These say that it is no decoder, and are the tokenizer's.
    elsewhere = {"is_decoder", "add_cross_attention", "bos_token_id", "eos_token_id"}
    assert set(written) == {*MegatronBertConfig.__annotations__} - elsewhere


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "mish"),
        ("vocab_size", "29056"),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})
