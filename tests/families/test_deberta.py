"""The first DeBERTa's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import pytest
from counting import num_parameters
from transformers import DebertaConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.deberta import DEBERTA, config_from_hf
from jaxbert.families.weight import Weight
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, RelativeAttention

# config.json of microsoft/deberta-base as it lies on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "model_type": "deberta",
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "pos_att_type": "c2p|p2c",
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 0,
    "vocab_size": 50265,
}
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
}
# microsoft/deberta-xlarge-mnli has these two besides.
XLARGE = LARGE | {
    "num_hidden_layers": 48,
    "num_labels": 3,
    "pooling": {"dropout": 0, "hidden_act": "gelu"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "deberta-base": {},
    "deberta-large": LARGE,
    "deberta-xlarge": XLARGE,
}
RELATIVE = {"relative_attention": True}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("deberta-base", 138_601_728),
        ("deberta-large", 405_163_008),
        ("deberta-xlarge", 757_804_032),
    ],
)
def test_presets_have_the_parameter_counts_of_transformers_class(name: str, count: int):
    """Of DebertaModel, counted with torch on the meta device."""
    assert num_parameters(preset(name)) == count


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    assert config_from_hf(ON_THE_HUB | CHANGES[name]) == preset(name)


def test_an_empty_config_means_what_it_means_to_transformers():
    plain = replace(
        preset("deberta-base"), position_embedding_type="absolute", relative_attention=None
    )
    assert config_from_hf({}) == config_from_hf(DebertaConfig().to_dict()) == plain


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
        "relative_attention": True,
        "max_relative_positions": 30,
        "pad_token_id": 4,
        "position_biased_input": False,
        "pos_att_type": ["p2c"],
        "pooler_dropout": 0.1,
        "pooler_hidden_act": "tanh",
        "pooler_hidden_size": 20,
        "cls_dropout": 0.4,
        "legacy": True,
        "tie_word_embeddings": False,
    }
    written = DEBERTA.config_to_hf(config_from_hf(given), Head())
    assert written == given
    # Read by transformers' class without being declared there, and the tokenizer's.
    declared = {*DebertaConfig.__annotations__} | {"pooler_hidden_size", "cls_dropout"}
    assert set(written) == declared - {"bos_token_id", "eos_token_id"}


@pytest.mark.parametrize("given", [["p2c", "c2p"], ["c2p", "p2c"], "p2c|c2p", " C2P | p2c "])
def test_relative_attention_has_transformers_defaults(given: object):
    """Every position has its own row, as far as there are positions."""
    expected = RelativeAttention(0, 99, share_att_key=False, norm_rel_ebd=False)
    fields = RELATIVE | {"max_position_embeddings": 99, "pos_att_type": given}
    assert config_from_hf(fields).relative_attention == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("talking_head", True),
        ("embedding_size", 128),
        ("pooler_hidden_size", 512),
        # transformers would divide scores by the root of 1 + the number of these.
        ("pos_att_type", ["c2p", "p2p"]),
        ("pos_att_type", ["c2p", "c2p"]),
        ("pos_att_type", "none"),
        ("pos_att_type", ""),
        ("pos_att_type", 3),
        ("max_relative_positions", 0.5),
        ("legacy", "yes"),
        ("pooler_hidden_act", "mish"),
        ("is_decoder", True),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf(RELATIVE | {field: value})


def test_kinds_of_scores_without_relative_positions_are_refused():
    """There they would change what scores are divided by, and nothing else."""
    with pytest.raises(UserError, match=r"pos_att_type=\['c2p'\] without relative_attention"):
        config_from_hf({"pos_att_type": ["c2p"]})


def test_the_classifier_alone_has_a_pooler_and_fields_for_its_dropout():
    fields = {"pooler_dropout": 0.2, "pooler_hidden_act": "tanh", "cls_dropout": 0.3}
    styles = config_from_hf(fields).heads
    assert styles.sequence_classification == HeadStyle("tanh", dense_dropout=0.2, dropout=0.3)
    assert (styles.pooler, styles.token_classification) == (None, HeadStyle())


def test_keys_have_no_bias_and_share_a_tensor_with_queries_and_values_head_by_head():
    config, name = preset("deberta-base"), "encoder/layers/3/attention"
    table = {row.path: row for row in DEBERTA.weights(config, Head("masked_lm"))}
    key = "deberta.encoder.layer.3.attention.self.in_proj.weight"
    rows = [table[f"{name}/{part}/kernel"] for part in ("query", "key", "value")]
    assert rows == [
        Weight(row.path, key, "transpose", part=part, parts=3, runs=12)
        for part, row in enumerate(rows)
    ]
    assert not {f"{name}/key/bias", f"{name}/position_key/bias"} & set(table)
