"""Attention of a few heads at a time, for CPUs: their scores never leave the cache."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxbert.nn.execution import as_attended
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.nn.placement import current_platform, is_undivided
from jaxbert.typing import Array

Heads = Float[Array, "batch seq heads head_dim"]
AT_ONCE, TOGETHER = 2**18, 2**20
"""Scores that are computed at once; and so many are computed together, without a loop."""


class _Saved(NamedTuple):
    query: Array
    keys: Array
    value: Array
    bias: Array | None
    mask: Array
    kept: Array | None
    attended: Array
    largest: Array
    """Of the scores of a query, and by what the exponentials of the others' distance to it sum to
    1: the weights are computed again."""
    quotient: Array


def pays(query: Heads) -> bool:
    """Whether scores are many enough, here and not divided among devices."""
    batch, length, heads, _ = query.shape
    if current_platform() != "cpu" or not is_undivided():
        return False
    # Of a program that is exported for batches of any size nobody knows how many there are.
    is_known = isinstance(batch, int) and isinstance(length, int)
    return is_known and batch * heads * length**2 > TOGETHER


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_by_head(
    scale: float,
    query: Heads,
    keys: Heads,
    value: Heads,
    bias: Float[Array, "heads seq seq"] | None,
    mask: Bool[Array, "batch 1 #seq seq"],
    kept: Bool[Array, "batch heads seq seq"] | None,
) -> Heads:
    """What `unseen_weights.attend` computes, all of it in float32.

    XLA's CPU backend writes scores and weights of all heads to memory and reads them several times.
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
    def some(
        mask: Array,
        bias: Array | None,
        query: Array,
        keys: Array,
        value: Array,
        kept: Array | None,
    ) -> Any:
        scores = _scores(mask, bias, query, keys)
        largest = scores.max(axis=-1, keepdims=True)
        weights = jnp.exp(scores - largest)
        quotient = 1.0 / weights.sum(axis=-1, keepdims=True)
        acting = weights if kept is None else jnp.where(kept, weights, 0.0)
        attended = jnp.einsum("hqk,hkd->hqd", acting, value) * (scale * quotient)
        return (attended, largest, quotient), None

    groups = _groups(query.shape)
    parts = [_apart(x, groups) for x in (query, keys, value)]
    grouped = _grouped(bias, groups)
    (apart, largest, quotient), _ = _in_turn(some, mask, grouped, *parts, _split(kept, groups))
    attended = as_attended(_together(apart, query))
    return attended, _Saved(query, keys, value, bias, mask, kept, attended, largest, quotient)


def _backward(
    scale: float, saved: _Saved, slope: Array
) -> tuple[Array, Array, Array, Array | None, None, None]:
    def some(
        mask: Array,
        bias: Array | None,
        query: Array,
        keys: Array,
        value: Array,
        kept: Array | None,
        attended: Array,
        largest: Array,
        quotient: Array,
        slope: Array,
    ) -> Any:
        weights = jnp.exp(_scores(mask, bias, query, keys) - largest) * quotient
        of_rows = jnp.sum(slope * attended, axis=-1, keepdims=True)
        of_weights = jnp.einsum("hqd,hkd->hqk", slope * scale, value)
        acting = weights
        if kept is not None:
            acting = jnp.where(kept, weights, 0.0)
            of_weights = jnp.where(kept, of_weights, 0.0)
        # As [.., head_dim, seq], and transposed afterwards: the other way takes twice the time.
        of_value = jnp.einsum("hqk,hqd->hdk", acting, slope * scale)
        # What is masked has a weight where all is masked, and no say in it.
        of_bias = jnp.where(mask, weights * (of_weights - of_rows), 0.0)
        of_scores = of_bias * query.shape[-1] ** -0.5
        of_query = jnp.einsum("hqk,hkd->hqd", of_scores, keys)
        of_keys = jnp.einsum("hqk,hqd->hdk", of_scores, query)
        return (of_query, of_keys, of_value), None if bias is None else of_bias

    query, groups = saved.query, _groups(saved.query.shape)
    parts = [_apart(x, groups) for x in (query, saved.keys, saved.value)]
    attended, slopes = (_apart(x, groups) for x in (saved.attended, slope))
    kept = _split(saved.kept, groups)
    known, bias = (saved.largest, saved.quotient), _grouped(saved.bias, groups)
    (of_query, *found), of_bias = _in_turn(
        some, saved.mask, bias, *parts, kept, attended, *known, slopes
    )
    of_keys, of_value = (_together(x.swapaxes(-2, -1), query) for x in found)
    if of_bias is not None:
        of_bias = of_bias.reshape(-1, *of_bias.shape[2:])
    return _together(of_query, query), of_keys, of_value, of_bias, None, None


attend_by_head.defvjp(_forward, _backward)


def _scores(mask: Array, bias: Array | None, query: Array, keys: Array) -> Array:
    scores = jnp.einsum("hqd,hkd->hqk", query * query.shape[-1] ** -0.5, keys)
    if bias is not None:
        scores += bias
    return jnp.where(mask, scores, MASKED_SCORE)


def _groups(shape: tuple[int, ...]) -> int:
    """In how many turns the heads of a row are computed."""
    _, length, heads, _ = shape
    at_once = max(1, AT_ONCE // length**2)
    return heads // max(
        size for size in range(1, heads + 1) if not heads % size and size <= at_once
    )


def _in_turn(
    function: Callable[..., Any], mask: Array, bias: Array | None, *parts: Array | None
) -> tuple[Any, Array | None]:
    """`function` of a row's mask and every group of its heads, and a sum over the rows.

    That is of what `function` gives besides, for the gradient by `bias`; None: it gives none.
    """

    def row(total: Array | None, inputs: Any) -> tuple[Array | None, Any]:
        mask, parts = inputs
        found, added = jax.lax.map(lambda group: function(mask, *group), (bias, *parts))
        return total if added is None else total + added, found

    start = None if bias is None else jnp.zeros_like(bias)
    total, found = jax.lax.scan(row, start, (mask, parts))
    return found, total


def _apart(x: Array, groups: int) -> Array:
    """float32 [batch, groups, heads of it, seq, head_dim]."""
    batch, length, heads, width = x.shape
    by_head = x.astype(jnp.float32).swapaxes(1, 2)
    return by_head.reshape(batch, groups, heads // groups, length, width)


def _grouped(bias: Array | None, groups: int) -> Array | None:
    """[groups, heads of it, seq, seq]."""
    return None if bias is None else bias.reshape(groups, -1, *bias.shape[1:])


def _split(kept: Array | None, groups: int) -> Array | None:
    if kept is None:
        return None
    batch, heads, *lengths = kept.shape
    return kept.reshape(batch, groups, heads // groups, *lengths)


def _together(parts: Array, like: Array) -> Array:
    batch, groups, heads, length, width = parts.shape
    return parts.reshape(batch, groups * heads, length, width).swapaxes(1, 2).astype(like.dtype)
