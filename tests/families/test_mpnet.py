"""MPNet's published size, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import MPNetConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.mpnet import MPNET, config_from_hf
from jaxbert.hub.save import check_config
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, HeadStyles, RelativeBias

# config.json of sentence-transformers/all-mpnet-base-v2 as it lies on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "_name_or_path": "microsoft/mpnet-base",
    "architectures": ["MPNetForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "mpnet",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "relative_attention_num_buckets": 32,
    "transformers_version": "4.8.2",
    "vocab_size": 30527,
}


def test_the_preset_has_the_published_parameter_count():
    """That of transformers' MPNetModel, counted with torch on the meta device."""
    assert num_parameters(preset("mpnet-base")) == 109_486_464


def test_the_preset_is_the_configuration_on_the_hub():
    assert config_from_hf(ON_THE_HUB) == preset("mpnet-base")
    assert longest_input(preset("mpnet-base")) == 512


def test_an_empty_config_means_what_it_means_to_transformers():
    # transformers' class states BERT's epsilon and positions: unlike the published model.
    expected = replace(
        EncoderConfig(),
        model_type="mpnet",
        vocab_size=30527,
        type_vocab_size=0,
        pad_token_id=1,
        position_embedding_type="after_padding",
        relative_bias=RelativeBias(32, 128),
        heads=HeadStyles(
            sequence_classification=HeadStyle("tanh", dense_dropout=None),
            masked_lm=HeadStyle("gelu", norm=True, dropout=0.0),
        ),
    )
    assert config_from_hf({}) == config_from_hf(MPNetConfig().to_dict()) == expected


def test_every_field_of_transformers_class_comes_back():
    sizes = {"vocab_size": 99, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5}
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
    given = {
        **(sizes | rates),
        "intermediate_size": 7,
        "hidden_act": "relu",
        "max_position_embeddings": 50,
        "initializer_range": 0.5,
        "layer_norm_eps": 1e-3,
        "tie_word_embeddings": False,
    }
    written = MPNET.config_to_hf(config_from_hf(given), Head())
    fixed = {"pad_token_id": 1, "relative_attention_num_buckets": 32}
    assert written == given | fixed
    # These two are the tokenizer's to say.
    assert set(written) == {*MPNetConfig.__annotations__} - {"bos_token_id", "eos_token_id"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("hidden_act", "mish"),
        ("vocab_size", "30527"),
        ("relative_attention_num_buckets", 64),
        ("pad_token_id", 0),
        ("tie_word_embeddings", 1),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relative_bias": None}, "relative_bias=None: mpnet has no such option"),
        ({"relative_bias": RelativeBias(32, 256)}, "relative_bias=.*256.*no such option"),
        ({"relative_bias": RelativeBias(16)}, "relative_bias=.*16.*no such option"),
        ({"pad_token_id": 0}, r"pad_token_id=0 .* with id 1: .*--tokenizer-family mpnet"),
        ({"type_vocab_size": 2}, "type_vocab_size=2: mpnet has no such option"),
    ],
)
def test_what_transformers_would_compute_otherwise_is_not_exported(
    changes: dict[str, Any], message: str
):
    check_config(preset("mpnet-base"), Head())
    with pytest.raises(UserError, match=message):
        check_config(replace(preset("mpnet-base"), **changes), Head())
