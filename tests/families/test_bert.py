"""BERT's published sizes, and which configurations are BERT's mathematics."""

from typing import Any

import pytest
from counting import num_parameters
from transformers import BertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.bert import BERT, config_from_hf
from jaxbert.families.head_fields import head_from_hf, labels_from_hf
from jaxbert.nn.config import EncoderConfig

# Parameters of transformers' BertModel at these sizes, counted with torch on the meta device.
PUBLISHED = {
    "bert-tiny": 4_385_920,
    "bert-mini": 11_170_560,
    "bert-small": 28_763_648,
    "bert-medium": 41_373_184,
    "bert-base-uncased": 109_482_240,
    "bert-large-uncased": 335_141_888,
    "minilm-l6-h384-uncased": 22_713_216,
    "minilm-l12-h384-uncased": 33_360_000,
    "tinybert-4l-312d": 14_350_248,
    "tinybert-6l-768d": 66_955_008,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


def test_presets_have_the_published_vocabularies():
    sizes = {name: config.vocab_size for name, config in BERT.presets.items()}
    assert {name: size for name, size in sizes.items() if size != 30522} == {
        "bert-base-cased": 28996,
        "bert-large-cased": 28996,
        "bert-large-cased-whole-word-masking": 28996,
        "bert-base-chinese": 21128,
        "bert-base-multilingual-uncased": 105879,
        "bert-base-multilingual-cased": 119547,
    }


def test_an_empty_config_means_what_it_means_to_transformers():
    defaults = BertConfig().to_dict()
    assert config_from_hf({}) == config_from_hf(defaults) == EncoderConfig()


def test_a_feed_forward_layer_in_chunks_is_the_same_model():
    assert config_from_hf({"chunk_size_feed_forward": 16}) == EncoderConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("is_encoder_decoder", True),
        ("add_cross_attention", True),
        ("position_embedding_type", "relative_key_query"),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"bits": 8}),
        ("hidden_act", "mish"),
        ("hidden_size", "768"),
        ("num_hidden_layers", 12.0),
        ("layer_norm_eps", None),
        ("num_attention_heads", 5),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


def test_custom_model_code_is_refused():
    with pytest.raises(UserError, match="auto_map"):
        config_from_hf({"auto_map": {"AutoModel": "their--repo.modeling"}})
    custom_tokenizer = {"auto_map": {"AutoTokenizer": ["their--repo.tokens", None]}}
    assert config_from_hf(custom_tokenizer) == EncoderConfig()


def test_spellings_of_one_activation_mean_the_same():
    assert config_from_hf({"hidden_act": "gelu_pytorch_tanh"}).hidden_act == "gelu_new"
    assert config_from_hf({"hidden_act": "gelu_python"}).hidden_act == "gelu"


def test_labels_stand_in_the_order_of_the_outputs():
    many = {str(index): f"class {index}" for index in (10, 2, 0, 1, 9, 3, 4, 5, 6, 7, 8)}
    assert labels_from_hf({"id2label": many}) == tuple(f"class {index}" for index in range(11))
    assert labels_from_hf({}) == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    "fields",
    [
        {"num_labels": 3},
        {"num_labels": 3, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
        {"num_labels": 1, "id2label": {"0": "no", "1": "yes"}},
        {"num_labels": 2, "id2label": {"1": "yes", "0": "no"}},
    ],
)
def test_a_number_of_labels_goes_before_other_names_as_in_transformers(fields: dict[str, Any]):
    theirs = BertConfig(**fields).id2label
    assert labels_from_hf(fields) == tuple(theirs[index] for index in range(len(theirs)))


@pytest.mark.parametrize("named", [{"0": "a", "2": "b"}, {"a": 0}, ["a", "b"]])
def test_labels_without_an_order_are_refused(named: object):
    with pytest.raises(UserError, match="id2label"):
        labels_from_hf({"id2label": named})


def test_an_unknown_problem_type_is_refused():
    with pytest.raises(UserError, match="problem_type='ranking'"):
        head_from_hf({"problem_type": "ranking"}, "sequence_classification")
