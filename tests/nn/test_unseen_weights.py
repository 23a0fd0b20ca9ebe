"""Attention with gradients by hand against what JAX differentiates."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.nn import head_by_head
from jaxbert.nn.attention import AttentionInputs, SelfAttention
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.placement import Placement, placed
from jaxbert.nn.unseen_weights import attend

BATCH, LENGTH, HEADS, HEAD_DIM = 3, 7, 2, 5
SCALE = 256 / 230


def drawn(dtype: Any = jnp.float32) -> tuple[jax.Array, ...]:
    """Query, keys, value, and a slope of what comes out."""
    draws = np.random.default_rng(0)
    shape = (4, BATCH, LENGTH, HEADS, HEAD_DIM)
    return tuple(jnp.asarray(draws.normal(size=shape), dtype))


def masks() -> tuple[jax.Array, jax.Array]:
    """Padding, in one row all of it, and what dropout keeps."""
    draws = np.random.default_rng(1)
    mask = np.arange(LENGTH) < np.array([LENGTH, 3, 0])[:, None]
    kept = draws.random((BATCH, HEADS, LENGTH, LENGTH)) < 0.7
    return jnp.asarray(mask)[:, None, None, :], jnp.asarray(kept)


def drawn_bias() -> jax.Array:
    draws = np.random.default_rng(2)
    return jnp.asarray(0.5 * draws.normal(size=(HEADS, LENGTH, LENGTH)), jnp.float32)


def plainly(query: Any, keys: Any, value: Any, bias: Any, mask: Any, kept: Any) -> jax.Array:
    scores = jnp.einsum("bqnd,bknd->bnqk", query, keys) / np.sqrt(HEAD_DIM)
    if bias is not None:
        scores += bias[None]
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e30))
    acting = weights if kept is None else jnp.where(kept, weights * SCALE, 0)
    return jnp.einsum("bnqk,bknd->bqnd", acting, value)


def with_gradients(function: Any, inputs: Sequence[jax.Array], slope: jax.Array) -> Any:
    """What comes out, and the slopes of what went in."""

    @jax.jit
    def run(inputs: Sequence[jax.Array], slope: jax.Array) -> Any:
        found, pull = jax.vjp(function, *inputs)
        return found, *pull(slope)

    return [np.asarray(x, np.float32) for x in run(inputs, slope) if x is not None]


@pytest.fixture(params=["attend", "attend_by_head, all", "attend_by_head, one"])
def function(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both ways to compute it; by head, with the heads of a row together or apart."""
    name, _, heads = request.param.partition(", ")
    monkeypatch.setattr(head_by_head, "AT_ONCE", LENGTH**2 * (HEADS if heads == "all" else 1))
    return attend if name == "attend" else head_by_head.attend_by_head


@pytest.mark.parametrize("is_biased", [False, True])
@pytest.mark.parametrize("drops_out", [False, True])
def test_values_and_gradients_are_those_of_jax(drops_out: bool, is_biased: bool, function: Any):
    *inputs, slope = drawn()
    inputs.append(drawn_bias() if is_biased else None)
    mask, kept = masks()
    kept_or_none, scale = (kept, SCALE) if drops_out else (None, 1.0)
    expected = with_gradients(lambda *x: plainly(*x, mask, kept_or_none), inputs, slope)
    found = with_gradients(lambda *x: function(scale, *x, mask, kept_or_none), inputs, slope)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, atol=2e-6)


def test_values_and_gradients_of_bfloat16_are_off_by_roundings(function: Any):
    mask, kept = masks()
    *inputs, slope = drawn(jnp.bfloat16)
    inputs.append(drawn_bias())
    *wide, wide_slope = [x.astype(jnp.float32) for x in (*inputs, slope)]
    expected = with_gradients(lambda *x: plainly(*x, mask, kept), wide, wide_slope)
    found = with_gradients(lambda *x: function(SCALE, *x, mask, kept), inputs, slope)
    for own, other in zip(found, expected, strict=True):
        # Of weights, slopes of scores and results one each, at most 2^-9 of what is rounded.
        assert np.abs(own - other).mean() < 3 * 2**-9 * np.abs(other).mean()


@pytest.mark.parametrize(
    ("length", "heads", "groups"), [(512, 12, 12), (384, 12, 12), (128, 12, 1)]
)
def test_as_many_heads_at_once_as_the_cache_holds(length: int, heads: int, groups: int):
    found = jax.eval_shape(
        lambda x: head_by_head._forward(
            1.0, x, x, x, None, jnp.ones((2, 1, 1, length), bool), None
        )[1],
        jax.ShapeDtypeStruct((2, length, heads, 8), jnp.float32),
    )
    assert found.largest.shape == (2, groups, heads // groups, length, 1)


def test_many_scores_are_computed_by_head_where_nothing_divides_them():
    def pays(*shape: int) -> bool:
        return head_by_head.pays(jnp.zeros(shape))

    assert pays(1, 512, 12, 64)
    assert not pays(4, 128, 12, 64)
    mesh = jax.make_mesh((2,), ("data",))
    with placed(Placement(mesh, ("data",), "tensor")):
        assert not pays(1, 512, 12, 64)


def test_weights_that_are_wanted_change_nothing_else():
    config = EncoderConfig(hidden_size=24, num_attention_heads=4)
    layer = SelfAttention(config, dtype=jnp.float32, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, LENGTH, 24)), jnp.float32)

    @jax.jit
    def both(state: Any, x: jax.Array, key: jax.Array) -> Any:
        calls = (AttentionInputs(masks()[0], wants_weights=wants) for wants in (True, False))
        return [nnx.merge(graph, state)(x, inputs, key) for inputs in calls]

    (found, weights), (alone, none) = both(state, x, jax.random.key(0))
    assert weights.shape == (BATCH, 4, LENGTH, LENGTH)
    assert none is None
    np.testing.assert_allclose(alone, found, atol=1e-6)
