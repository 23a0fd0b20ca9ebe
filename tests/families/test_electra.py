"""ELECTRA's published sizes, and which configurations are ELECTRA's mathematics."""

from typing import Any

import pytest
from counting import num_parameters
from transformers import ElectraConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.electra import ELECTRA
from jaxbert.nn.head import Head

# Parameters of transformers' ElectraModel at these sizes, counted with torch on the meta device.
# The discriminators of the paper: 14M, 110M, 335M.
PUBLISHED = {
    "electra-small-discriminator": 13_483_008,
    "electra-base-discriminator": 108_891_648,
    "electra-large-discriminator": 334_092_288,
    "electra-small-generator": 13_483_008,
    "electra-base-generator": 33_511_168,
    "electra-large-generator": 50_999_552,
}

# config.json of electra-small-discriminator as it lies on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["ElectraForPreTraining"],
    "attention_probs_dropout_prob": 0.1,
    "embedding_size": 128,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 1024,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "electra",
    "num_attention_heads": 4,
    "num_hidden_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}
GENERATOR = {"architectures": ["ElectraForMaskedLM"]}
CHANGES: dict[str, dict[str, Any]] = {
    "electra-small-discriminator": {},
    "electra-base-discriminator": {
        "embedding_size": 768,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
    },
    "electra-large-discriminator": {
        "embedding_size": 1024,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    },
    "electra-small-generator": GENERATOR,
    "electra-base-generator": GENERATOR | {"embedding_size": 768},
    "electra-large-generator": GENERATOR | {"embedding_size": 1024, "num_hidden_layers": 24},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    assert ELECTRA.config_from_hf(ON_THE_HUB | CHANGES[name]) == preset(name)


def test_an_empty_config_means_what_it_means_to_transformers():
    defaults = ElectraConfig().to_dict()
    read = ELECTRA.config_from_hf
    assert read({}) == read(defaults) == preset("electra-small-discriminator")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "mish"),
        ("summary_type", "mean"),
        ("summary_use_proj", False),
        ("summary_activation", "last"),
        ("summary_first_dropout", 0.1),
        ("summary_proj_to_labels", True),
        ("embedding_size", 0),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        ELECTRA.config_from_hf({field: value})


def test_multiple_choice_goes_by_the_fields_of_the_summary():
    fields = {"summary_activation": "tanh", "summary_last_dropout": 0.3, "classifier_dropout": 0.2}
    styles = ELECTRA.config_from_hf(fields).heads
    assert (styles.multiple_choice.activation, styles.multiple_choice.dropout) == ("tanh", 0.3)
    assert styles.sequence_classification.dropout == styles.token_classification.dropout == 0.2


def test_the_dropout_of_a_head_is_written_where_transformers_reads_it():
    choice = Head("multiple_choice", classifier_dropout=0.4)
    small = preset("electra-small-discriminator")
    assert ELECTRA.config_to_hf(small, choice)["summary_last_dropout"] == 0.4
    tokens = Head("token_classification", ("a", "b"), classifier_dropout=0.4)
    fields = ELECTRA.config_to_hf(small, tokens)
    assert (fields["classifier_dropout"], fields["summary_last_dropout"]) == (0.4, 0.1)
