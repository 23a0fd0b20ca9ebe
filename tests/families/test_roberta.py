"""RoBERTa's published sizes, and which configurations are RoBERTa's mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import (
    CamembertConfig,
    Data2VecTextConfig,
    RobertaConfig,
    RobertaPreLayerNormConfig,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
)

from jaxbert.errors import UserError
from jaxbert.families import family_of, preset
from jaxbert.families.roberta import ROBERTA
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, HeadStyles

# Parameters of transformers' plain model at these sizes, counted with torch on the meta device.
PUBLISHED = {
    "roberta-base": 124_645_632,
    "roberta-large": 355_359_744,
    "distilroberta-base": 82_118_400,
    "xlm-roberta-base": 278_043_648,
    "xlm-roberta-large": 559_890_432,
    "camembert-base": 110_621_952,
    "data2vec-text-base": 124_645_632,
    "efficient_mlm_m0.40": 355_361_792,
    "xlm-roberta-xl": 3_482_485_760,
    "xlm-roberta-xxl": 10_712_735_744,
}

# config.json of roberta-base as it lies on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["RobertaForMaskedLM"],
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
    "model_type": "roberta",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "vocab_size": 50265,
}
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
}
XLM = {"model_type": "xlm-roberta", "output_past": True, "vocab_size": 250002}
XL = {
    "model_type": "xlm-roberta-xl",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "position_embedding_type": "absolute",
    "vocab_size": 250880,
}
CHANGES: dict[str, dict[str, Any]] = {
    "roberta-base": {},
    "roberta-large": LARGE,
    "distilroberta-base": {"num_hidden_layers": 6},
    "xlm-roberta-base": XLM | {"position_embedding_type": "absolute", "use_cache": True},
    "xlm-roberta-large": XLM | LARGE,
    "camembert-base": {
        "model_type": "camembert",
        "bos_token_id": 5,
        "eos_token_id": 6,
        "output_past": True,
        "vocab_size": 32005,
    },
    "data2vec-text-base": {"model_type": "data2vec-text", "mask_token_id": 50264},
    "efficient_mlm_m0.40": LARGE | {"model_type": "roberta-prelayernorm"},
    "xlm-roberta-xl": XL,
    "xlm-roberta-xxl": XL
    | {"hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 48},
}
PRE_NORM = {"roberta-prelayernorm": {"norm_placement": "pre"}}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    fields = ON_THE_HUB | CHANGES[name]
    assert family_of(fields["model_type"]).config_from_hf(fields) == preset(name)


@pytest.mark.parametrize(
    "config_class",
    [
        RobertaConfig,
        XLMRobertaConfig,
        CamembertConfig,
        RobertaPreLayerNormConfig,
        Data2VecTextConfig,
    ],
)
def test_an_empty_config_means_what_it_means_to_transformers(config_class: type):
    defaults = config_class().to_dict()
    read = family_of(defaults["model_type"]).config_from_hf
    # transformers' class states BERT's epsilon, types and positions: unlike any published model.
    expected = replace(
        EncoderConfig(),
        model_type=defaults["model_type"],
        vocab_size=defaults["vocab_size"],
        pad_token_id=1,
        position_embedding_type="after_padding",
        heads=HeadStyles(
            sequence_classification=HeadStyle("tanh", dense_dropout=None),
            masked_lm=HeadStyle("gelu", norm=True, dropout=0.0),
        ),
        **PRE_NORM.get(defaults["model_type"], {}),
    )
    assert read({}) == read(defaults) == expected


def test_an_empty_config_of_xlm_roberta_xl_is_the_published_model():
    read = family_of("xlm-roberta-xl").config_from_hf
    assert read({}) == read(XLMRobertaXLConfig().to_dict()) == preset("xlm-roberta-xl")


def test_514_positions_take_512_tokens():
    assert longest_input(preset("roberta-base")) == 512


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "mish"),
        ("pad_token_id", None),
        ("vocab_size", "50265"),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        ROBERTA.config_from_hf({field: value})


def test_the_classifiers_dropout_is_the_families_own_field():
    styles = ROBERTA.config_from_hf({"classifier_dropout": 0.3}).heads
    assert styles.sequence_classification.dropout == styles.token_classification.dropout == 0.3
    assert styles.multiple_choice.dropout is None
    own = Head("token_classification", ("a", "b"), classifier_dropout=0.4)
    assert ROBERTA.config_to_hf(preset("roberta-base"), own)["classifier_dropout"] == 0.4
