"""The numeric rules against float64."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.norm import norm
from jaxbert.nn.numerics import ACTIVATIONS, attention_weights, gelu

CONFIG = EncoderConfig(hidden_size=64, num_attention_heads=1)


def test_gelu_of_float32_and_its_slope_are_exact():
    x = np.linspace(-12, 12, 200_001).astype(np.float32)
    value, slope = exact_gelu(x)
    found, found_slope = value_and_slope(gelu, jnp.asarray(x))
    assert np.max(np.abs(found - value) / ulp(x / 2, 23)) < 5
    np.testing.assert_allclose(found_slope, slope, atol=3e-7)
    # The tanh approximation is 5e-4 off: far outside.
    assert np.abs(np.asarray(jax.nn.gelu(x)) - value).max() > 1e-4


def test_gelu_of_every_bfloat16_is_the_exact_one_as_rounded():
    every = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    # Subnormal numbers are zero to XLA, and the square of what is larger overflows float32 too.
    x = every[np.isfinite(every) & ((np.abs(every) > 1e-37) | (every == 0))]
    value, slope = exact_gelu(x)
    found, found_slope = value_and_slope(gelu, jnp.asarray(x, jnp.bfloat16))
    # Half an ulp is the rounding's.
    assert np.max((np.abs(found - value) / ulp(value, 7))[x >= -4]) < 0.75
    assert np.abs(found - value)[x < -4].max() < 5e-7
    np.testing.assert_array_less(np.abs(found_slope - slope), ulp(slope, 7) / 2 + 2.5e-4)


def value_and_slope(function: Any, x: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    value, slope = jax.jit(lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),)))(x)
    return np.asarray(value, np.float64), np.asarray(slope, np.float64)


def exact_gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = x.astype(np.float64)
    cdf = scipy.special.ndtr(x)
    return x * cdf, cdf + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def ulp(x: np.ndarray, mantissa: int) -> np.ndarray:
    """Of a number with so many bits after the first."""
    return 2.0 ** (np.floor(np.log2(np.maximum(np.abs(x), 2.0**-126))) - mantissa)


def exact_gelu_new(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, root = x.astype(np.float64), math.sqrt(2 / math.pi)
    # (1 + tanh) / 2 without what cancels.
    cdf = scipy.special.expit(2 * root * (x + 0.044715 * x**3))
    return x * cdf, cdf + x * cdf * (1 - cdf) * 2 * root * (1 + 3 * 0.044715 * x**2)


def exact_silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = x.astype(np.float64)
    gate = scipy.special.expit(x)
    return x * gate, gate + x * gate * (1 - gate)


GATED = {"gelu_new": (exact_gelu_new, -3.5), "silu": (exact_silu, -80.0)}
"""The function in float64, and from where on its float32 sum does not cancel."""


@pytest.mark.parametrize("name", GATED)
def test_gated_activations_of_every_bfloat16_are_the_exact_ones_as_rounded(name: str):
    exact, lowest = GATED[name]
    every = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    x = every[(np.abs(every) < 1e4) & ((np.abs(every) > 1e-37) | (every == 0))]
    value, slope = exact(x)
    found, found_slope = value_and_slope(ACTIVATIONS[name], jnp.asarray(x, jnp.bfloat16))
    # Half an ulp is the rounding's.
    errors = np.abs(found - value) / ulp(value, 7)
    assert errors[x >= lowest].max() < 0.6
    assert np.max((np.abs(found - value) - ulp(value, 7) / 2)[x < lowest]) < 6e-7
    np.testing.assert_array_less(np.abs(found_slope - slope), ulp(slope, 7) * 0.51 + 5e-6)


@pytest.mark.parametrize("name", GATED)
def test_gated_activations_of_bfloat16_keep_what_they_read_alone(name: str):
    def loss(x: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
        for _ in range(3):
            x = ACTIVATIONS[name](x @ up) @ down
        return jnp.sum(x.astype(jnp.float32))

    shapes = (1024, 16), (16, 1024), (1024, 16)
    inputs = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
    program = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*inputs).compile()
    # 24.5 MiB; with a slope of float32 from every forward pass 36.4.
    assert program.memory_analysis().temp_size_in_bytes < 26 * 2**20


@pytest.mark.parametrize("name", GATED)
def test_gated_activations_of_float32_are_those_of_jax(name: str):
    x = jnp.asarray(np.linspace(-12, 12, 20_001), jnp.float32)
    found, found_slope = value_and_slope(ACTIVATIONS[name], x)
    of_jax = {"gelu_new": jax.nn.gelu, "silu": jax.nn.silu}
    value, slope = value_and_slope(of_jax[name], x)
    np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found_slope, slope, rtol=1e-6, atol=5e-6)


def test_gelu_keeps_the_dtype():
    assert gelu(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("mean", [0.0, 100.0, 3000.0])
def test_layer_norm_survives_a_mean_that_is_large_against_the_spread(mean: float):
    x = (mean + np.random.default_rng(0).normal(size=(7, 64))).astype(np.float32)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    found = norm(CONFIG, nnx.Rngs(0))(jnp.asarray(x))
    # Rounding of the mean itself: one part in 2^24 of it.
    np.testing.assert_allclose(found, expected, atol=1e-6 + 4e-7 * mean)


def test_layer_norm_of_bfloat16_is_computed_in_float32():
    x = jnp.linspace(-3, 5, 64, dtype=jnp.bfloat16)[None]
    found = norm(CONFIG, nnx.Rngs(0))(x)
    assert found.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(found, (exact - exact.mean()) / exact.std(), atol=1e-6)


def test_attention_weights_are_a_softmax_over_what_the_mask_keeps():
    draws = np.random.default_rng(0)
    scores = 10 * draws.normal(size=(2, 3, 4, 5))
    mask = draws.random((2, 1, 4, 5)) < 0.6
    mask[..., 0] = True
    weights = np.exp(scores) * mask
    expected = weights / weights.sum(axis=-1, keepdims=True)
    found = attention_weights(jnp.asarray(scores, jnp.bfloat16), jnp.asarray(mask))
    assert found.dtype == jnp.float32
    found = attention_weights(jnp.asarray(scores, jnp.float32), jnp.asarray(mask))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    kept = np.broadcast_to(mask, found.shape)
    assert np.all(np.asarray(found)[~kept] == 0)


def test_where_the_mask_keeps_nothing_weights_are_uniform():
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 3, 4)), jnp.float32)
    found = attention_weights(scores, jnp.zeros((1, 1, 1, 4), bool))
    np.testing.assert_array_equal(found, np.full((1, 2, 3, 4), 0.25))


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_layer_norm_are_those_of_jax(bias: bool):
    draws = np.random.default_rng(0)
    layer = norm(dataclasses.replace(CONFIG, norm_bias=bias, layer_norm_eps=0.1), nnx.Rngs(0))
    graph, state = nnx.split(layer)
    state = jax.tree.map(lambda v: jnp.asarray(draws.normal(size=v.shape), v.dtype), state)
    x, slope = (jnp.asarray(3 * draws.normal(size=(2, 5, 64)), jnp.float32) for _ in range(2))

    def plainly(state: nnx.State, x: jax.Array) -> jax.Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        y = centred / jnp.sqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 0.1)
        y *= state["scale"][...][None, None]
        return y + state["bias"][...][None, None] if bias else y

    def with_gradients(function: Any) -> Any:
        @jax.jit
        def run(state: nnx.State, x: jax.Array, slope: jax.Array) -> Any:
            found, pull = jax.vjp(function, state, x)
            return found, pull(slope)

        return jax.tree.leaves(run(state, x, slope))

    expected = with_gradients(plainly)
    found = with_gradients(lambda state, x: nnx.merge(graph, state)(x))
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5)
