"""Dropout as a function, and where in the model it acts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.random import threefry2x32_p

from jaxbert.nn.attention import AttentionInputs
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.draws import random_bytes
from jaxbert.nn.dropout import dropout, split_key
from jaxbert.nn.head import Head
from jaxbert.nn.layer import EncoderLayer
from jaxbert.nn.model import Model, ModelOutput

KEY, OTHER = jax.random.key(0), jax.random.key(1)
ONES = jnp.ones(100_000)


@pytest.mark.parametrize(("rate", "of_256"), [(0.1, 26), (0.5, 128), (0.3, 77), (0.999, 255)])
@pytest.mark.parametrize("generator", ["threefry2x32", "rbg"])
def test_the_nearest_256th_is_dropped_and_the_rest_scaled(rate: float, of_256: int, generator: str):
    found = np.asarray(dropout(ONES, rate, jax.random.key(3, impl=generator)))
    acting = of_256 / 256
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / (1 - acting))}
    five_sigma = 5 * np.sqrt(acting * (1 - acting) / ONES.size)
    assert (found == 0).mean() == pytest.approx(acting, abs=five_sigma)
    assert found.mean() == pytest.approx(1, abs=five_sigma / (1 - acting))


def test_bfloat16_entries_are_scaled_without_bias():
    x = jnp.linspace(1, 2, 100_000, dtype=jnp.bfloat16)
    found = dropout(x, 0.1, KEY)
    assert found.dtype == jnp.bfloat16
    kept = np.asarray(found != 0)
    before, after = (np.asarray(values, np.float64)[kept].mean() for values in (x, found))
    # The scale itself, 256 / 230, is 3e-3 off when it is rounded to bfloat16.
    assert after / before == pytest.approx(256 / 230, rel=2e-4)


def test_without_key_or_rate_nothing_happens():
    assert dropout(ONES, 0.5, None) is ONES
    assert dropout(ONES, 0.0, KEY) is ONES


def test_the_key_decides_what_is_dropped():
    np.testing.assert_array_equal(dropout(ONES, 0.5, KEY), dropout(ONES, 0.5, KEY))
    same = np.mean(np.asarray(dropout(ONES, 0.5, KEY) == dropout(ONES, 0.5, OTHER)))
    assert same == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shape", [(64, 63), (7, 33, 61), (5, 1)])
def test_every_byte_of_threefry_is_used_once(shape: tuple[int, ...]):
    key, size = jax.random.key(11), int(np.prod(shape))
    words = (size + 3) // 4
    counts = jnp.pad(jnp.arange(words, dtype=jnp.uint32), (0, words % 2)).reshape(2, -1)
    pairs = threefry2x32_p.bind(*jax.random.key_data(key), counts[0], counts[1])
    expected = np.concatenate([np.asarray(words) for words in pairs]).astype("<u4").view(np.uint8)
    found = np.asarray(random_bytes(key, shape))
    np.testing.assert_array_equal(found.ravel(), expected[:size])


def test_neighbouring_bytes_are_independent():
    found = np.asarray(random_bytes(KEY, (300, 1024)), np.float64).ravel()
    assert np.bincount(found.astype(int), minlength=256) == pytest.approx(1200, abs=6 * 1200**0.5)
    for lag in (1, 2, 3, 4, 1024):
        assert np.corrcoef(found[lag:], found[:-lag])[0, 1] == pytest.approx(0, abs=0.01)


def test_split_keys_all_differ_and_no_key_gives_none():
    assert split_key(None, 3) == (None, None, None)
    data = {tuple(jax.random.key_data(key).tolist()) for key in (KEY, *split_key(KEY, 5))}
    assert len(data) == 6


CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
IDS = np.random.default_rng(0).integers(5, 131, (3, 12)).astype(np.int32)


def run(key: jax.Array | None, head: Head | None = None, **options: Any) -> ModelOutput:
    model = Model(dataclasses.replace(CONFIG, **options), head, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)

    @jax.jit
    def call(state: Any, ids: jax.Array, key: jax.Array | None) -> ModelOutput:
        capture = ("hidden_states", "attentions")
        return nnx.merge(graph, state)(ids, key=key, capture=capture)

    return jax.device_get(call(state, IDS, key))


def test_dropout_after_the_embeddings_zeroes_and_doubles_their_normed_sum():
    still = run(None, num_hidden_layers=0, hidden_dropout_prob=0.5).last_hidden_state
    found = run(KEY, num_hidden_layers=0, hidden_dropout_prob=0.5).last_hidden_state
    dropped = found == 0
    assert 0.4 < dropped.mean() < 0.6
    np.testing.assert_allclose(found[~dropped], 2 * still[~dropped], rtol=1e-6, atol=1e-7)


def test_dropout_of_attention_probabilities_acts_after_they_are_captured():
    still, found = (run(key, attention_probs_dropout_prob=0.5) for key in (None, KEY))
    assert not np.allclose(found.last_hidden_state, still.last_hidden_state, atol=1e-3)
    np.testing.assert_array_equal(found.hidden_states[0], still.hidden_states[0])
    np.testing.assert_allclose(found.attentions[0], still.attentions[0], atol=1e-6)


@pytest.mark.parametrize(
    ("zeroed", "acts"),
    [((), True), (("attention",), True), (("mlp",), True), (("attention", "mlp"), False)],
)
def test_dropout_acts_on_both_residual_branches_and_not_on_their_sum(
    zeroed: tuple[str, ...], acts: bool
):
    layer = EncoderLayer(
        dataclasses.replace(CONFIG, hidden_dropout_prob=0.5), dtype=jnp.float32, rngs=nnx.Rngs(0)
    )
    last = {"attention": layer.attention.output, "mlp": layer.mlp.down}
    for branch in zeroed:
        last[branch].kernel[...] = jnp.zeros_like(last[branch].kernel[...])
    x = jax.random.normal(OTHER, (2, 5, 24))
    inputs = AttentionInputs(jnp.ones((2, 1, 1, 5), bool))
    # Branches are about 0.02 of the sum at initialisation: make them count.
    for branch in set(last) - set(zeroed):
        last[branch].kernel[...] *= 100
    still, found = (layer(x, inputs, key)[0] for key in (None, KEY))
    assert np.array_equal(still, found) != acts


def test_the_two_residual_branches_drop_different_entries():
    """With equal branches, equal masks would show in every entry."""
    _, attention_key, _, mlp_key = split_key(KEY, 4)
    drawn = [dropout(ONES, 0.5, key) == 0 for key in (attention_key, mlp_key)]
    assert np.mean(np.asarray(drawn[0] == drawn[1])) == pytest.approx(0.5, abs=0.01)


def test_dropout_before_the_classifier_leaves_the_pooled_vector_alone():
    head = Head("sequence_classification", labels=("a", "b"), classifier_dropout=0.5)
    still, found = (run(key, head) for key in (None, KEY))
    np.testing.assert_array_equal(found.pooled, still.pooled)
    assert not np.allclose(found.logits, still.logits, atol=1e-4)


def test_the_classifier_falls_back_on_the_rate_of_the_encoder():
    head = Head("sequence_classification", labels=("a", "b"))
    for rate, is_random in ((0.5, True), (0.0, False)):
        options = {"hidden_dropout_prob": rate, "num_hidden_layers": 0}
        model = Model(dataclasses.replace(CONFIG, **options), head, rngs=nnx.Rngs(0))
        pooled = jnp.ones((2, 24))
        assert np.array_equal(model.classifier(pooled, KEY), model.classifier(pooled, None)) != (
            is_random
        )


def test_different_keys_give_different_outputs():
    one, other = (run(key, hidden_dropout_prob=0.1).last_hidden_state for key in (KEY, OTHER))
    assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("kind", ["pretraining", "sequence_classification"])
def test_with_all_rates_zero_a_key_changes_nothing(kind: Any):
    head = Head(kind, ("a", "b") if kind == "sequence_classification" else ())
    still, found = (run(key, head) for key in (None, KEY))
    jax.tree.map(np.testing.assert_array_equal, found, still)
