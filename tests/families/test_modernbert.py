"""ModernBERT's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import ModernBertConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.modernbert import MODERNBERT, config_from_hf, every, head_styles
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions

# Parameters of transformers' ModernBertModel at these sizes, counted with torch on the meta device.
PUBLISHED = {"modernbert-base": 149_014_272, "modernbert-large": 394_781_696}

# config.json of ModernBERT-base as it lies on the Hub, written by transformers 4.47.
ON_THE_HUB: dict[str, Any] = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 50281,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 50281,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "eos_token_id": 50282,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 768,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 1152,
    "layer_norm_eps": 1e-05,
    "local_attention": 128,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 12,
    "num_hidden_layers": 22,
    "pad_token_id": 50283,
    "position_embedding_type": "absolute",
    "sep_token_id": 50282,
    "tie_word_embeddings": True,
    "vocab_size": 50368,
}
CHANGES: dict[str, dict[str, Any]] = {
    "modernbert-base": {},
    "modernbert-large": {
        "hidden_size": 1024,
        "intermediate_size": 2624,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
    },
}
FULL, LOCAL = "full_attention", "sliding_attention"
SMALL = replace(preset("modernbert-base"), num_hidden_layers=2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    fields = ON_THE_HUB | CHANGES[name]
    assert config_from_hf(fields) == preset(name)
    # The same, opened and written again by transformers 5.
    assert config_from_hf(ModernBertConfig(**fields).to_dict()) == preset(name)


def test_what_is_published_is_written_as_it_was_read():
    written = MODERNBERT.config_to_hf(preset("modernbert-base"), Head("masked_lm"))
    same = set(written) & set(ON_THE_HUB)
    assert {name: written[name] for name in same} == {name: ON_THE_HUB[name] for name in same}
    assert {"global_rope_theta", "sep_token_id", "classifier_pooling"} <= same


def test_an_empty_config_means_what_it_means_to_transformers():
    expected = replace(preset("modernbert-base"), heads=head_styles(pooling="cls"))
    assert config_from_hf({}) == config_from_hf(ModernBertConfig().to_dict()) == expected


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({}, every(3)),
        ({"global_attn_every_n_layers": 2}, every(2)),
        ({"global_attn_every_n_layers": 1}, (FULL,)),
        ({"layer_types": [FULL, LOCAL, LOCAL, FULL, LOCAL, LOCAL]}, every(3)),
        ({"layer_types": [FULL] * 6}, (FULL,)),
        ({"layer_types": [LOCAL] * 6}, (LOCAL,)),
        ({"layer_types": [LOCAL, FULL] * 3}, (LOCAL, FULL)),
        ({"layer_types": [FULL, LOCAL, LOCAL, LOCAL, FULL, LOCAL]}, every(4)),
        ({"layer_types": [FULL] * 5 + [LOCAL]}, (*[FULL] * 5, LOCAL)),
    ],
)
def test_layer_types_are_the_shortest_pattern(fields: dict[str, Any], pattern: tuple[str, ...]):
    config = config_from_hf(fields | {"num_hidden_layers": 6})
    assert config.layer_types == pattern
    written = MODERNBERT.config_to_hf(config, Head())
    assert written["layer_types"] == ModernBertConfig(num_hidden_layers=6, **fields).layer_types
    has_full_first = pattern == every(len(pattern))
    assert written["global_attn_every_n_layers"] == (len(pattern) if has_full_first else None)


@pytest.mark.parametrize(
    ("fields", "bases"),
    [
        ({}, (160000.0, 10000.0)),
        ({"global_rope_theta": 5e4, "local_rope_theta": None}, (5e4, 5e4)),
        ({"global_rope_theta": 5e4, "local_rope_theta": 2e4}, (5e4, 2e4)),
        ({"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 7e4}}}, (7e4, 1e4)),
        ({"rope_parameters": {LOCAL: {"rope_theta": 9}}, "global_rope_theta": 8}, (8.0, 9.0)),
    ],
)
def test_bases_come_from_either_spelling(fields: dict[str, Any], bases: tuple[float, float]):
    assert config_from_hf(fields).rotary == RotaryPositions(*bases)


YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rope_parameters", {FULL: YARN}),
        ("rope_parameters", {"rope_theta": 10000.0}),
        ("rope_parameters", {FULL: {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
        ("rope_parameters", [1]),
        ("rope_scaling", YARN),
        ("layer_types", [FULL]),
        ("layer_types", [FULL] * 21 + ["linear_attention"]),
        ("global_attn_every_n_layers", 0),
        ("classifier_pooling", "max"),
        ("classifier_activation", "mish"),
        ("hidden_activation", "mish"),
        ("norm_bias", 0),
        ("local_attention", -1),
        ("local_attention", 1.5),
        ("mlp_dropout", "0.1"),
        ("head_dim", 32),
        ("sliding_window", 20),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({field: value})


def test_half_of_the_window_under_its_own_name_says_the_same():
    fields = {"local_attention": 40, "sliding_window": 20, "head_dim": 64}
    assert (
        config_from_hf(fields).local_attention == ModernBertConfig(**fields).local_attention == 40
    )
    assert ModernBertConfig(sliding_window=20).local_attention == 40


def test_attention_drops_out_its_weights_and_its_output():
    config = config_from_hf({"attention_dropout": 0.2, "mlp_dropout": 0.3})
    rates = (config.attention_probs_dropout_prob, config.attention_output_dropout_prob)
    assert (*rates, config.mlp_dropout_prob, config.hidden_dropout_prob) == (0.2, 0.2, 0.3, 0.0)
    written = MODERNBERT.config_to_hf(config, Head())
    assert (written["attention_dropout"], written["mlp_dropout"]) == (0.2, 0.3)


def test_a_pooling_of_the_head_is_written_and_the_familys_otherwise():
    classifier = Head("sequence_classification", ("a", "b"))
    for config, expected in (({}, "cls"), ({"classifier_pooling": "mean"}, "mean")):
        written = MODERNBERT.config_to_hf(config_from_hf(config), classifier)
        assert written["classifier_pooling"] == expected
    own = replace(classifier, pooling="mean")
    assert MODERNBERT.config_to_hf(config_from_hf({}), own)["classifier_pooling"] == "mean"


def test_tokens_of_another_vocabulary_are_not_named():
    config = replace(preset("modernbert-base"), vocab_size=9, pad_token_id=3)
    written = MODERNBERT.config_to_hf(config, Head())
    assert written["pad_token_id"] == 3
    assert {written[f"{name}_token_id"] for name in ("bos", "eos", "cls", "sep")} == {None}


def test_padding_lies_in_the_vocabulary():
    assert config_from_hf({"vocab_size": 9, "pad_token_id": None}).pad_token_id == 0
    with pytest.raises(UserError, match="pad_token_id=50283: must be below vocab_size=9"):
        config_from_hf({"vocab_size": 9})


def test_names_of_the_authors_own_training_code_are_the_same_tensors():
    """`bert.` for `model.` and `bert.encoder.layers.` for `model.layers.`, heads as they are."""
    keys = [weight.key for weight in MODERNBERT.weights(SMALL, Head("masked_lm"))]
    theirs = [key.replace("model.layers.", "bert.encoder.layers.") for key in keys]
    theirs = [key.replace("model.", "bert.") for key in theirs]
    assert set(theirs) & set(keys) == {key for key in keys if not key.startswith("model.")}
    assert [MODERNBERT.canonical_key(key) for key in theirs] == keys
