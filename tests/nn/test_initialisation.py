import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.tree import paths

CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
)
PRETRAINING = Head("pretraining")
CLASSIFIER = Head("sequence_classification", labels=("a", "b", "c"))
# Standard deviation of a unit normal cut at two: sqrt(1 - 4 pdf(2) / (cdf(2) - cdf(-2))).
CUT = 0.8796


def named(params: Any) -> dict[str, np.ndarray]:
    return dict(zip(paths(params), map(np.asarray, jax.tree.leaves(params)), strict=True))


@pytest.fixture(scope="module")
def params() -> dict[str, np.ndarray]:
    return named(init_params(CONFIG, PRETRAINING, 0))


def test_an_encoders_weights_are_a_normal_of_0_02_cut_at_two_sigma(params: dict[str, np.ndarray]):
    weights = {
        name: value
        for name, value in params.items()
        if name.startswith("encoder/") and name.endswith(("kernel", "embedding"))
    }
    assert len(weights) == 3 + 2 * 6
    for name, value in weights.items():
        assert np.abs(value).max() <= 0.04, name
        assert value.any(axis=0).all(), name
    real = [value.ravel() for name, value in weights.items() if "word" not in name]
    drawn = np.concatenate([*real, params["encoder/embeddings/word/embedding"][:131].ravel()])
    assert np.abs(drawn).max() > 0.0395
    # 15,000 draws: the deviation is known to within 0.6 %.
    assert drawn.std() == pytest.approx(0.02 * CUT, rel=0.03)
    assert drawn.mean() == pytest.approx(0, abs=6e-4)
    assert (np.abs(drawn) < 0.02).mean() == pytest.approx(0.6827 / 0.9545, abs=0.02)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("sequence_classification", "classifier/dense/kernel"),
        ("masked_lm", "masked_lm/dense/kernel"),
        ("masked_lm", "masked_lm/decoder"),
    ],
)
def test_what_a_head_draws_is_a_normal_of_0_02_and_not_cut(head, name):
    labels = tuple(f"label {index}" for index in range(64)) if "class" in head else ()
    config = dataclasses.replace(CONFIG, hidden_size=128, tie_word_embeddings="decoder" not in name)
    drawn = named(init_params(config, Head(head, labels), 0))[name]
    drawn = drawn[: CONFIG.vocab_size] if "decoder" in name else drawn
    # 8,192 draws or more: the deviation is known to within 0.8 %, and 4.6 % lie beyond two.
    assert drawn.std() == pytest.approx(0.02, rel=0.035)
    assert (np.abs(drawn) > 0.04).mean() == pytest.approx(0.0455, abs=0.01)


def test_deep_models_start_what_writes_into_the_sum_smaller_and_classifiers_by_their_width():
    deep = dataclasses.replace(CONFIG, hidden_size=64, depth_scaled_initializer=True)
    classifier = Head("token_classification", tuple(f"label {index}" for index in range(64)))
    drawn = named(init_params(deep, classifier, 0))
    expected = {
        "encoder/layers/0/attention/output/kernel": 0.02 / 2,
        "encoder/layers/1/mlp/down/kernel": 0.02 / 2,
        "encoder/layers/1/mlp/up/kernel": 0.02,
        "classifier/dense/kernel": 1 / 8,
    }
    for name, stddev in expected.items():
        assert drawn[name].std() == pytest.approx(stddev * CUT, rel=0.06), name


def test_biases_are_zero_and_scales_one(params: dict[str, np.ndarray]):
    for name, value in params.items():
        if name.endswith("bias"):
            assert not value.any(), name
        if name.endswith("scale"):
            assert (value == 1).all(), name


def test_rows_beyond_the_vocabulary_are_zero(params: dict[str, np.ndarray]):
    table = params["encoder/embeddings/word/embedding"]
    assert table.shape == (256, 24)
    assert not table[131:].any()
    assert table[:131].any(axis=1).all()


def test_no_two_parameters_share_their_draws(params: dict[str, np.ndarray]):
    firsts = [tuple(x.ravel()[:6]) for name, x in params.items() if x.any() and "scale" not in name]
    assert len(set(firsts)) == len(firsts)


def test_the_seed_decides_and_nothing_else(params: dict[str, np.ndarray]):
    again = named(init_params(CONFIG, PRETRAINING, 0))
    other = named(init_params(CONFIG, PRETRAINING, 1))
    for name, value in params.items():
        np.testing.assert_array_equal(again[name], value)
        assert value.dtype == np.float32
        is_drawn = name.endswith(("kernel", "embedding"))
        assert np.array_equal(other[name], value) != is_drawn, name


def test_the_encoder_does_not_depend_on_the_head(params: dict[str, np.ndarray]):
    other = named(init_params(CONFIG, CLASSIFIER, 0))
    for name in params:
        if name.startswith("encoder/"):
            np.testing.assert_array_equal(other[name], params[name])


def test_another_range_scales_the_same_draws(params: dict[str, np.ndarray]):
    wide = named(init_params(dataclasses.replace(CONFIG, initializer_range=0.06), PRETRAINING, 0))
    name = "encoder/layers/1/mlp/up/kernel"
    np.testing.assert_allclose(wide[name], 3 * params[name], rtol=1e-6)
