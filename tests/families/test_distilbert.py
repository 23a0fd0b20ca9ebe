"""DistilBERT's published sizes, and which configurations are DistilBERT's mathematics."""

from typing import Any

import pytest
from counting import num_parameters
from transformers import DistilBertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.distilbert import DISTILBERT, config_from_hf, config_to_hf
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, HeadStyles

# Parameters of transformers' DistilBertModel at these sizes, counted with torch on the meta device.
PUBLISHED = {
    "distilbert-base-uncased": 66_362_880,
    "distilbert-base-cased": 65_190_912,
    "distilbert-base-multilingual-cased": 134_734_080,
}

# config.json of distilbert-base-uncased as it lies on the Hub; the others differ in vocab_size.
ON_THE_HUB: dict[str, Any] = {
    "activation": "gelu",
    "architectures": ["DistilBertForMaskedLM"],
    "attention_dropout": 0.1,
    "dim": 768,
    "dropout": 0.1,
    "hidden_dim": 3072,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": 12,
    "n_layers": 6,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "vocab_size": 30522,
}
VOCABULARIES = {
    "distilbert-base-uncased": 30522,
    "distilbert-base-cased": 28996,
    "distilbert-base-multilingual-cased": 119547,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    assert config_from_hf(ON_THE_HUB | {"vocab_size": VOCABULARIES[name]}) == preset(name)


def test_an_empty_config_means_what_it_means_to_transformers():
    classifier = HeadStyle("relu", dropout=0.2)
    expected = EncoderConfig(
        model_type="distilbert",
        num_hidden_layers=6,
        type_vocab_size=0,
        attention_output_dropout_prob=0.0,
        heads=HeadStyles(
            pooler=None,
            sequence_classification=classifier,
            multiple_choice=classifier,
            question_answering=HeadStyle(dropout=0.1),
        ),
    )
    assert config_from_hf({}) == config_from_hf(DistilBertConfig().to_dict()) == expected


def test_names_of_other_families_are_understood_as_transformers_does():
    names = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
    theirs = DistilBertConfig(**names)
    assert (theirs.dim, theirs.n_layers, theirs.n_heads) == (24, 3, 4)
    assert config_from_hf(names) == config_from_hf(theirs.to_dict())


def test_names_of_other_families_go_before_its_own_as_in_transformers():
    for fields in (
        {"n_heads": 2, "num_attention_heads": 4},
        {"num_attention_heads": 4, "n_heads": 2},
    ):
        assert config_from_hf(fields).num_attention_heads == DistilBertConfig(**fields).n_heads == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("activation", "mish"),
        ("dim", "768"),
        ("seq_classif_dropout", "none"),
        ("tie_word_embeddings", 1),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


def test_every_heads_dropout_has_the_families_own_field():
    read = config_from_hf({"seq_classif_dropout": 0.3, "qa_dropout": 0.4})
    assert read.heads.sequence_classification.dropout == 0.3
    assert read.heads.multiple_choice.dropout == 0.3
    assert read.heads.question_answering.dropout == 0.4
    written = config_to_hf(read, Head("question_answering", classifier_dropout=0.0))
    assert (written["seq_classif_dropout"], written["qa_dropout"]) == (0.3, 0.0)
    written = config_to_hf(read, Head("multiple_choice", classifier_dropout=0.5))
    assert (written["seq_classif_dropout"], written["qa_dropout"]) == (0.5, 0.4)


def test_positions_that_were_initialised_as_sines_are_read_from_the_file_like_others():
    assert config_from_hf({"sinusoidal_pos_embds": True}) == DISTILBERT.config_from_hf({})
