from typing import Any

import jax
import pytest

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import Head, HeadKind
from jaxbert.optim.groups import (
    FROZEN,
    depth_group,
    group_labels,
    is_decayed,
    learning_rate_factors,
)
from jaxbert.tree import paths

KINDS: tuple[HeadKind, ...] = (
    "none",
    "pretraining",
    "masked_lm",
    "next_sentence",
    "sequence_classification",
)
CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=12,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
)


def params_of(kind: HeadKind) -> Any:
    labels = ("no", "yes") if kind == "sequence_classification" else ()
    return abstract_params(CONFIG, Head(kind, labels))


@pytest.fixture(scope="module")
def params() -> Any:
    return params_of("pretraining")


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("encoder/embeddings/word/embedding", "embeddings"),
        ("encoder/embeddings/norm/scale", "embeddings"),
        ("encoder/layers/0/mlp_norm/scale", "layer_0"),
        ("encoder/layers/11/attention/query/kernel", "layer_11"),
        ("pooler/dense/kernel", "head"),
        ("masked_lm/bias", "head"),
    ],
)
def test_a_parameter_belongs_to_its_depth(path: str, group: str):
    assert depth_group(path) == group


def test_rates_shrink_by_one_factor_per_step_down():
    assert learning_rate_factors(3, 0.5) == {
        "head": 1.0,
        "layer_2": 0.5,
        "layer_1": 0.25,
        "layer_0": 0.125,
        "embeddings": 0.0625,
    }
    assert set(learning_rate_factors(12, 1.0).values()) == {1.0}


def test_every_parameter_of_every_head_has_a_group_with_a_rate():
    factors = learning_rate_factors(CONFIG.num_hidden_layers, 0.9)
    for kind in KINDS:
        found = set(jax.tree.leaves(group_labels(params_of(kind))))
        assert found <= set(factors)
        assert {"embeddings", "layer_0", "layer_11"} <= found


def test_decay_leaves_out_biases_and_norms_and_nothing_else():
    """The names by which BERT's code excludes them: `LayerNorm`, `layer_norm` and `bias`."""
    not_decayed = {
        path.replace("/5/", "/i/")
        for kind in KINDS
        for path in paths(params_of(kind))
        if not is_decayed(path) and ("layers" not in path or "layers/5/" in path)
    }
    assert not_decayed == {
        "classifier/dense/bias",
        "encoder/embeddings/norm/bias",
        "encoder/embeddings/norm/scale",
        "encoder/layers/i/attention/key/bias",
        "encoder/layers/i/attention/output/bias",
        "encoder/layers/i/attention/query/bias",
        "encoder/layers/i/attention/value/bias",
        "encoder/layers/i/attention_norm/bias",
        "encoder/layers/i/attention_norm/scale",
        "encoder/layers/i/mlp/down/bias",
        "encoder/layers/i/mlp/up/bias",
        "encoder/layers/i/mlp_norm/bias",
        "encoder/layers/i/mlp_norm/scale",
        "masked_lm/bias",
        "masked_lm/dense/bias",
        "masked_lm/norm/bias",
        "masked_lm/norm/scale",
        "next_sentence/dense/bias",
        "pooler/dense/bias",
    }


def frozen_paths(params: Any, *freeze: str) -> set[str]:
    labels = group_labels(params, freeze)
    named = zip(paths(params), jax.tree.leaves(labels), strict=True)
    return {path for path, label in named if label == FROZEN}


def test_freezing_layer_1_leaves_layers_10_and_11_alone(params: Any):
    found = frozen_paths(params, "encoder/layers/1")
    assert found == {path for path in paths(params) if path.startswith("encoder/layers/1/")}
    assert len(found) == 16


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("encoder/embeddings", 5),
        ("embeddings/word", 1),
        (r"encoder/layers/([0-9]|10)", 11 * 16),
        ("encoder", 5 + 12 * 16),
        (".*", 5 + 12 * 16 + 2 + 5 + 2),
        ("bias", 1 + 12 * 8 + 1 + 3 + 1),
    ],
)
def test_a_pattern_freezes_what_it_names(params: Any, pattern: str, count: int):
    assert len(frozen_paths(params, pattern)) == count


def test_a_pattern_that_names_nothing_is_refused_with_a_name_that_exists(params: Any):
    with pytest.raises(UserError, match=r"'encoder/layer/3' matches no parameter.*'encoder/"):
        group_labels(params, ("encoder/embeddings", "encoder/layer/3"))


def test_a_pattern_that_is_no_regular_expression_is_refused(params: Any):
    with pytest.raises(UserError, match=r"optimizer.freeze: 'encoder/\(' is not a regular"):
        group_labels(params, ("encoder/(",))
