"""Jina Embeddings v3 in its published size, and which configurations are its mathematics."""

from dataclasses import replace

import pytest
from counting import num_parameters
from transformers import JinaEmbeddingsV3Config

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.jina_embeddings_v3 import JINA_EMBEDDINGS_V3, config_from_hf
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions


def test_the_preset_has_the_parameter_count_of_transformers_class():
    """Of JinaEmbeddingsV3Model, counted with torch on the meta device."""
    assert num_parameters(preset("jina-embeddings-v3")) == 559_364_096


def test_an_empty_config_is_the_published_model():
    read = config_from_hf(JinaEmbeddingsV3Config().to_dict())
    assert config_from_hf({}) == read == preset("jina-embeddings-v3")
    # No position belongs to padding, unlike RoBERTa's.
    assert longest_input(read) == 8194


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
        "classifier_dropout": 0.4,
        "tie_word_embeddings": False,
        "use_cache": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 30.0},
    }
    written = JINA_EMBEDDINGS_V3.config_to_hf(config_from_hf(given), Head())
    assert written == given
    # These are the tokenizer's, and the class's own.
    elsewhere = {"bos_token_id", "eos_token_id", "default_theta"}
    assert set(written) == {*JinaEmbeddingsV3Config.__annotations__} - elsewhere


def test_the_base_of_the_rotation_may_stand_alone():
    assert config_from_hf({"rope_theta": 7.0}).rotary == RotaryPositions(rope_theta=7.0)
    nested = {"rope_parameters": {"rope_type": "default", "rope_theta": 8.0}, "rope_theta": 7.0}
    assert config_from_hf(nested).rotary == RotaryPositions(rope_theta=8.0)


def test_no_token_may_be_padding():
    assert config_from_hf({"pad_token_id": None}) == replace(config_from_hf({}), pad_token_id=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("hidden_act", "mish"),
        ("head_dim", 32),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 20000.0, "factor": 2.0}),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("auto_map", {"AutoModel": "jinaai/xlm-roberta-flash-implementation--modeling_lora.XLMR"}),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})
