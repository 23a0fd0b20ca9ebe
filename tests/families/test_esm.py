"""ESM's published sizes, and which configurations are its mathematics."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from counting import num_parameters
from transformers import EsmConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.esm import ESM, config_from_hf
from jaxbert.hub.save import check_config
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, HeadStyles, RotaryPositions

# The fields that config.json of facebook/esm2_t6_8M_UR50D has on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["EsmForMaskedLM"],
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": None,
    "emb_layer_norm_before": False,
    "esmfold_config": None,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 320,
    "initializer_range": 0.02,
    "intermediate_size": 1280,
    "is_folding_model": False,
    "layer_norm_eps": 1e-05,
    "mask_token_id": 32,
    "max_position_embeddings": 1026,
    "model_type": "esm",
    "num_attention_heads": 20,
    "num_hidden_layers": 6,
    "pad_token_id": 1,
    "position_embedding_type": "rotary",
    "token_dropout": True,
    "use_cache": True,
    "vocab_list": None,
    "vocab_size": 33,
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("esm2_t6_8M", 7_511_680),
        ("esm2_t12_35M", 33_500_160),
        ("esm2_t30_150M", 148_138_240),
        ("esm2_t33_650M", 651_040_000),
    ],
)
def test_a_preset_has_the_published_parameter_count(name: str, count: int):
    """That of transformers' EsmModel without its contact head, counted on the meta device."""
    assert num_parameters(preset(name)) == count


def test_the_largest_sizes_are_those_of_the_paper():
    """Lin et al. 2022; tracing them takes seconds."""
    sizes = {name: preset(name) for name in ("esm2_t36_3B", "esm2_t48_15B")}
    widths = [(c.num_hidden_layers, c.hidden_size, c.num_attention_heads) for c in sizes.values()]
    assert widths == [(36, 2560, 40), (48, 5120, 40)]


def test_the_preset_is_the_configuration_on_the_hub():
    assert config_from_hf(ON_THE_HUB) == preset("esm2_t6_8M")
    assert longest_input(preset("esm2_t6_8M")) == 1026


def test_an_empty_config_means_what_it_means_to_transformers():
    # But for the vocabulary, which transformers' class has none of by itself.
    expected = replace(
        EncoderConfig(),
        model_type="esm",
        vocab_size=33,
        max_position_embeddings=1026,
        type_vocab_size=0,
        pad_token_id=1,
        position_embedding_type="after_padding",
        embedding_norm=False,
        embedding_dropout_prob=0.0,
        norm_placement="pre",
        heads=HeadStyles(
            sequence_classification=HeadStyle("tanh", dense_dropout=None),
            masked_lm=HeadStyle("gelu", norm=True, dropout=0.0),
        ),
    )
    theirs = EsmConfig(vocab_size=33, pad_token_id=1).to_dict()
    assert config_from_hf({}) == config_from_hf(theirs) == expected


def test_every_field_of_transformers_class_comes_back():
    sizes = {"vocab_size": 99, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5}
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
    given = {
        **(sizes | rates),
        "intermediate_size": 7,
        "max_position_embeddings": 50,
        "initializer_range": 0.5,
        "layer_norm_eps": 1e-3,
        "tie_word_embeddings": False,
        "pad_token_id": 4,
        "mask_token_id": 6,
        "token_dropout": True,
        "emb_layer_norm_before": True,
        "position_embedding_type": "rotary",
        "rope_theta": 500.0,
    }
    written = ESM.config_to_hf(config_from_hf(given), Head())
    assert written == given | {"hidden_act": "gelu", "is_folding_model": False}
    # Decoders and ESMFold are not implemented, and these two are the tokenizer's to say.
    others = {"bos_token_id", "eos_token_id", "use_cache", "is_decoder", "add_cross_attention"}
    others |= {"esmfold_config", "vocab_list", "model_type", "sub_configs"}
    assert set(written) - {"hidden_act"} == {*EsmConfig.__annotations__} - others


def test_frequencies_are_a_field_of_ours():
    given = tuple(np.float16(10000.0 ** (-i / 8)).item() for i in range(8))
    config = replace(preset("esm2_t6_8M"), rotary=RotaryPositions(frequencies=given))
    written = ESM.config_to_hf(config, Head())
    assert written["jaxbert_rotary_frequencies"] == list(given)
    assert config_from_hf(json.loads(json.dumps(written))) == config
    for wrong in ("float16", [1.0, "half"], [-1.0] * 8):
        with pytest.raises(UserError, match="frequencies"):
            config_from_hf(written | {"jaxbert_rotary_frequencies": wrong})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_folding_model", True),
        ("hidden_act", "relu"),
        ("position_embedding_type", "relative_key"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("vocab_size", "33"),
        ("token_dropout", 1),
        ("mask_token_id", 33),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


def test_dropped_masks_need_the_id_of_the_mask():
    with pytest.raises(UserError, match="token_dropout=True without mask_token_id"):
        config_from_hf({"token_dropout": True})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotary": RotaryPositions(factor=2.0)}, "rotary=.*no such option"),
        ({"norm_placement": "post"}, "norm_placement='post': esm has no such option"),
        ({"hidden_act": "relu"}, "hidden_act='relu': esm has no such option"),
        ({"type_vocab_size": 2}, "type_vocab_size=2: esm has no such option"),
    ],
)
def test_what_transformers_would_compute_otherwise_is_not_exported(
    changes: dict[str, Any], message: str
):
    check_config(preset("esm2_t6_8M"), Head())
    with pytest.raises(UserError, match=message):
        check_config(replace(preset("esm2_t6_8M"), **changes), Head())
