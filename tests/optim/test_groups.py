from dataclasses import replace
from typing import Any

import jax
import pytest

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import Head, HeadKind, LayerMixture
from jaxbert.optim.groups import (
    FROZEN,
    TRAINED,
    GroupConfig,
    check_groups,
    decay_of,
    depth,
    depth_group,
    group_labels,
    is_decayed,
    learning_rate_factors,
    rate_factor,
)
from jaxbert.tree import flat, paths

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
        ("encoder/final_norm/scale", "head"),
        ("mixture/weights", "head"),
        # What all layers of DeBERTa share.
        ("encoder/relative/embedding", "embeddings"),
        ("encoder/relative/norm/scale", "embeddings"),
        ("encoder/convolution/kernel", "embeddings"),
        # What all layers of MPNet add to their scores.
        ("encoder/relative_bias/embedding", "embeddings"),
        ("generator/encoder/layers/3/mlp/up/kernel", "layer_3"),
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
        found = {depth_group(path) for path in paths(params_of(kind))}
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


def test_a_bias_of_scores_is_not_decayed_and_a_table_of_positions_is():
    assert not is_decayed("encoder/relative_bias/embedding")
    assert is_decayed("encoder/relative/embedding")


def test_the_mixture_of_layers_is_not_decayed():
    shapes = abstract_params(CONFIG, Head(mixture=LayerMixture(3)))
    mixture = [path for path in paths(shapes) if path.startswith("mixture/")]
    assert mixture
    assert not any(map(is_decayed, mixture))


def test_a_pair_of_encoders_is_as_deep_as_the_deeper_one():
    low, high = (abstract_params(replace(CONFIG, num_hidden_layers=n), Head()) for n in (2, 3))
    for pair in ((low, high), (high, low)):
        assert depth(dict(zip(("discriminator", "generator"), pair, strict=True))) == 3


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
    near = r"'encoder/layer/3' matches no parameter: did you mean 'encoder/layers/3'"
    with pytest.raises(UserError, match=near):
        group_labels(params, ("encoder/embeddings", "encoder/layer/3"))


def test_a_pattern_that_is_no_regular_expression_is_refused(params: Any):
    with pytest.raises(UserError, match=r"optimizer.freeze: 'encoder/\(' is not a regular"):
        group_labels(params, ("encoder/(",))


def test_flags_of_a_whole_pattern_are_refused_with_those_of_a_part_which_serve(params: Any):
    with pytest.raises(UserError, match=r"'\(\?i\)BIAS' is not .* write flags as \(\?i:bias\)"):
        group_labels(params, ("(?i)BIAS",))
    assert frozen_paths(params, "(?i:BIAS)") == frozen_paths(params, "bias")


@pytest.mark.parametrize(
    ("layers", "count"), [(None, 0), (0, 5), (1, 5 + 16), (12, 5 + 12 * 16), ("all", 5 + 12 * 16)]
)
def test_the_lowest_layers_are_frozen_with_the_embeddings(params: Any, layers: Any, count: int):
    labels = group_labels(params, freeze_layers=layers)
    found = {path for path, label in flat(labels).items() if label == FROZEN}
    assert len(found) == count
    assert not layers or "encoder/layers/0/mlp/up/kernel" in found


def test_the_last_norm_is_frozen_with_the_encoder_alone():
    config = replace(CONFIG, norm_placement="pre", num_hidden_layers=2)
    params = abstract_params(config, Head())
    for layers, label in ((2, TRAINED), ("all", FROZEN)):
        labels = flat(group_labels(params, freeze_layers=layers))  # type: ignore[arg-type]
        assert labels["encoder/final_norm/scale"] == label


def test_more_layers_than_there_are_cannot_be_frozen(params: Any):
    with pytest.raises(UserError, match=r"optimizer.freeze_layers=13: the model has 12 layers"):
        group_labels(params, freeze_layers=13)


GROUPS = (
    GroupConfig("pooler", learning_rate=5e-3),
    GroupConfig("encoder/layers/(10|11)", factor=3.0, weight_decay=0.5),
    GroupConfig("encoder/layers", weight_decay=0.0),
    GroupConfig(".*/kernel", learning_rate=1.0),
)


@pytest.mark.parametrize(
    ("path", "factor", "decay"),
    [
        ("pooler/dense/kernel", 5.0, 0.01),
        ("encoder/layers/11/mlp/up/kernel", 3.0 * 0.9, 0.5),
        ("encoder/layers/10/mlp/up/kernel", 3.0 * 0.9**2, 0.5),
        ("encoder/layers/10/mlp/up/bias", 3.0 * 0.9**2, 0.0),
        ("encoder/layers/1/mlp/up/kernel", 0.9**11, 0.0),
        ("encoder/embeddings/word/embedding", 0.9**13, 0.01),
        ("masked_lm/dense/kernel", 1000.0, 0.01),
        ("masked_lm/dense/bias", 1.0, 0.0),
    ],
)
def test_the_first_group_that_matches_gives_rate_and_decay(path: str, factor: float, decay: float):
    assert rate_factor(1e-3, 0.9, GROUPS, 12)(path) == pytest.approx(factor)
    assert decay_of(0.01, GROUPS)(path) == decay


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"params": "encoder/layer/3", "factor": 2.0}], "did you mean 'encoder/layers/3'"),
        ([{"params": "poler", "factor": 2.0}], "did you mean 'pooler'"),
        ([{"params": "(", "factor": 2.0}], "is not a regular expression"),
        (
            [{"params": "encoder", "factor": 2.0}, {"params": "embeddings", "factor": 3.0}],
            "all that 'embeddings' matches is in groups before it",
        ),
        ([{"params": "bias", "weight_decay": 0.1}], "'bias' are biases and norms"),
    ],
)
def test_a_group_that_would_change_nothing_is_refused(params: Any, groups: Any, message: str):
    with pytest.raises(UserError, match=message):
        check_groups(tuple(GroupConfig(**group) for group in groups), params)


def test_a_group_says_one_rate_and_something():
    with pytest.raises(UserError, match="'pooler' has a learning_rate and a factor"):
        GroupConfig("pooler", 1e-3, 2.0)
    with pytest.raises(UserError, match="'pooler' changes nothing"):
        GroupConfig("pooler")
