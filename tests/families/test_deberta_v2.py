"""DeBERTa's published sizes, and which configurations are its mathematics."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from counting import num_parameters
from transformers import DebertaV2Config
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.deberta_v2 import DEBERTA_V2, config_from_hf
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, RelativeAttention
from jaxbert.nn.relative import table_rows

# Parameters of transformers' DebertaV2Model at these sizes, counted with torch on the meta device.
# Microsoft's table has them as 900M and 1.5B, and for version 3 without the words: 22M, 44M, 86M,
# 304M and 86M.
PUBLISHED = {
    "deberta-v2-xlarge": 884_593_152,
    "deberta-v2-xxlarge": 1_564_549_632,
    "deberta-v3-xsmall": 70_682_112,
    "deberta-v3-small": 141_304_320,
    "deberta-v3-base": 183_831_552,
    "deberta-v3-large": 434_012_160,
    "mdeberta-v3-base": 278_218_752,
}

# config.json of deberta-v3-base as it lies on the Hub.
ON_THE_HUB: dict[str, Any] = {
    "model_type": "deberta-v2",
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "layer_norm_eps": 1e-07,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 0,
    "vocab_size": 128100,
}
XLARGE = {
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "conv_kernel_size": 3,
    "conv_act": "gelu",
    "num_attention_heads": 24,
    "attention_head_size": 64,
    "num_hidden_layers": 24,
}
CHANGES: dict[str, dict[str, Any]] = {
    "deberta-v2-xlarge": XLARGE,
    "deberta-v2-xxlarge": XLARGE | {"num_hidden_layers": 48},
    "deberta-v3-xsmall": {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6},
    "deberta-v3-small": {"num_hidden_layers": 6},
    "deberta-v3-base": {},
    "deberta-v3-large": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    },
    "mdeberta-v3-base": {"vocab_size": 251000},
}
RELATIVE = {"relative_attention": True}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_have_the_published_parameter_counts(name: str):
    assert num_parameters(preset(name)) == PUBLISHED[name]


@pytest.mark.parametrize("name", CHANGES)
def test_presets_are_the_configurations_on_the_hub(name: str):
    assert config_from_hf(ON_THE_HUB | CHANGES[name]) == preset(name)


def test_an_empty_config_means_what_it_means_to_transformers():
    plain = replace(
        preset("deberta-v2-xlarge"),
        position_embedding_type="absolute",
        relative_attention=None,
        convolution=None,
    )
    assert config_from_hf({}) == config_from_hf(DebertaV2Config().to_dict()) == plain


def test_relative_attention_has_transformers_defaults():
    expected = RelativeAttention(
        position_buckets=0,
        max_relative_positions=99,
        pos_att_type=(),
        share_att_key=False,
        norm_rel_ebd=False,
    )
    fields = RELATIVE | {"max_position_embeddings": 99}
    assert config_from_hf(fields).relative_attention == expected
    assert config_from_hf(fields | {"position_buckets": -1}).relative_attention == expected


@pytest.mark.parametrize(
    "given", [["p2c", "c2p"], ["c2p", "p2c"], "p2c|c2p", " C2P | p2c ", "c2p|p2c"]
)
def test_the_order_and_the_spelling_of_the_kinds_of_scores_mean_nothing(given: object):
    relative = config_from_hf(RELATIVE | {"pos_att_type": given}).relative_attention
    assert relative is not None
    assert relative.pos_att_type == ("c2p", "p2c")


@pytest.mark.parametrize("given", [None, [], "none", ""])
def test_relative_positions_may_score_nothing(given: object):
    relative = config_from_hf(RELATIVE | {"pos_att_type": given}).relative_attention
    assert relative is not None
    assert relative.pos_att_type == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embedding_size", 128),
        ("attention_head_size", 32),
        ("pooler_hidden_size", 512),
        ("conv_groups", 2),
        ("conv_kernel_size", 4),
        ("conv_kernel_size", "3"),
        ("norm_rel_ebd", "batch_norm"),
        ("pos_att_type", ["c2p", "p2p"]),
        ("pos_att_type", 3),
        ("position_buckets", 1),
        ("position_buckets", 25.5),
        ("share_att_key", 1),
        ("legacy", "yes"),
        ("pooler_hidden_act", "mish"),
        ("cls_dropout", "0.1"),
        ("is_decoder", True),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf(RELATIVE | {field: value})


def test_buckets_that_transformers_cannot_fill_are_refused():
    """Its logarithm of (furthest - 1) / (buckets // 2) is what it divides by."""
    fields = RELATIVE | {"position_buckets": 8, "max_relative_positions": 5}
    short = config_from_hf(fields | {"max_position_embeddings": 5}).relative_attention
    rows = torch.zeros(1, 5, 2)
    expected = build_relative_position(rows, rows, bucket_size=8, max_position=5)[0] + 8
    assert short is not None
    np.testing.assert_array_equal(table_rows(5, short), expected)
    with pytest.raises(
        UserError, match=r"max_relative_positions=5 .*position_buckets=8: .* than 5"
    ):
        config_from_hf(fields | {"max_position_embeddings": 6})
    config_from_hf(fields | {"max_relative_positions": 6})


def test_kinds_of_scores_without_relative_positions_are_refused():
    with pytest.raises(UserError, match=r"pos_att_type=\['c2p'\] without relative_attention"):
        config_from_hf({"pos_att_type": ["c2p"]})
    with pytest.raises(UserError, match="relative_attention='yes': expected true or false"):
        config_from_hf({"relative_attention": "yes"})


def test_heads_have_the_familys_own_fields():
    fields = {"pooler_dropout": 0.2, "pooler_hidden_act": "tanh", "cls_dropout": 0.3}
    styles = config_from_hf(fields).heads
    style = HeadStyle("tanh", dense_dropout=0.2, dropout=0.3)
    assert (styles.sequence_classification, styles.multiple_choice) == (style, style)
    assert styles.token_classification == HeadStyle()
    own = Head("sequence_classification", ("a", "b"), classifier_dropout=0.4)
    written = DEBERTA_V2.config_to_hf(preset("deberta-v3-base"), own)
    assert (written["cls_dropout"], written["pooler_dropout"]) == (0.4, 0.0)


def test_the_newer_masked_lm_is_always_tied():
    fields = {"tie_word_embeddings": False}
    assert not config_from_hf(fields).tie_word_embeddings
    assert config_from_hf(fields | {"legacy": False}).tie_word_embeddings
