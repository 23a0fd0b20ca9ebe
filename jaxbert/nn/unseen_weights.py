"""Attention whose weights nobody is to see: what they do to the values, with gradients by hand."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxbert.nn.execution import as_attended
from jaxbert.nn.numerics import attention_weights
from jaxbert.typing import Array

Heads = Float[Array, "batch seq heads head_dim"]


class _Saved(NamedTuple):
    query: Array
    keys: Array
    value: Array
    bias: Array | None
    mask: Array
    weights: Array
    """In the compute dtype, negative where they were dropped: no mask has to be kept."""
    attended: Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend(
    scale: float,
    query: Heads,
    keys: Heads,
    value: Heads,
    bias: Float[Array, "heads seq seq"] | None,
    mask: Bool[Array, "batch 1 #seq seq"],
    kept: Bool[Array, "batch heads seq seq"] | None,
) -> Heads:
    """The values, summed with the softmax of the scores, to which `bias` is added, as weights.

    `kept` says which weights dropout leaves (None: there is none), and `scale` by what they grow.

    Differentiated by XLA, the same takes float32 weights and what dropout drew to the backward
    pass, and a sum over all weights of a row where the sum over its attended values will do (Dao
    et al. 2022, appendix B.2).
    """
    return _forward(scale, query, keys, value, bias, mask, kept)[0]


def _forward(
    scale: float,
    query: Array,
    keys: Array,
    value: Array,
    bias: Array | None,
    mask: Array,
    kept: Array | None,
) -> tuple[Array, _Saved]:
    scores = _product("bqnd,bknd->bnqk", query, keys) * query.shape[-1] ** -0.5
    if bias is not None:
        scores += bias[None]
    weights = attention_weights(scores, mask)
    if kept is not None:
        weights = jnp.where(kept, weights, -weights)
    weights = weights.astype(value.dtype)
    attended = _product("bnqk,bknd->bqnd", jnp.maximum(weights, 0), value) * scale
    attended = as_attended(attended.astype(value.dtype))
    return attended, _Saved(query, keys, value, bias, mask, weights, attended)


def _backward(
    scale: float, saved: _Saved, slope: Array
) -> tuple[Array, Array, Array, Array | None, None, None]:
    query, keys, value, bias, mask, weights, attended = saved
    # XLA would compute the sums of rows with the product that gives the slope, in another layout.
    slope = jax.lax.optimization_barrier(slope)
    shrunk = (slope.astype(jnp.float32) * scale).astype(slope.dtype)
    of_value = _product("bnqk,bqnd->bknd", jnp.maximum(weights, 0), shrunk)
    of_rows = _product("bqnd,bqnd->bnq", slope, attended)[..., None]
    of_weights = jnp.where(weights > 0, _product("bqnd,bknd->bnqk", shrunk, value), 0.0)
    of_scores = jnp.abs(weights).astype(jnp.float32) * (of_weights - of_rows)
    # What is masked has a weight where all is masked, and no say in it.
    of_bias = None if bias is None else jnp.where(mask, of_scores, 0.0).sum(axis=0)
    of_scores = jnp.where(mask, of_scores * query.shape[-1] ** -0.5, 0.0).astype(query.dtype)
    of_query = _product("bnqk,bknd->bqnd", of_scores, keys)
    of_keys = _product("bnqk,bqnd->bknd", of_scores, query)
    return (
        of_query.astype(query.dtype),
        of_keys.astype(keys.dtype),
        of_value.astype(value.dtype),
        of_bias,
        None,
        None,
    )


attend.defvjp(_forward, _backward)


def _product(names: str, left: Array, right: Array) -> Array:
    return jnp.einsum(names, left, right, preferred_element_type=jnp.float32)
