"""Attention with dropout of its weights, as Pallas kernels for TPUs that keep the weights to them.

All scores of some queries with every key of their row are in vector memory at once, so that a
softmax needs one pass, and neither scores nor weights nor dropout's mask go through the chip's
memory. JAX's splash kernels, which walk over blocks of keys, are for longer rows and windows.

Scores are [key, query]: sums over keys are then sums of whole registers. Heads stay side by side in
the lanes of a register, as projections give them: where a product sums over features, the lanes of
other heads are zero.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Float, Int, UInt32

from jaxbert.nn.dropout import dropped_of_256, scale_of
from jaxbert.nn.execution import as_attended
from jaxbert.nn.hashed_mask import draw_seeds, kept
from jaxbert.nn.kernels import LANES, NO_ID, whole_lanes
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.nn.placement import current_placement, current_platform
from jaxbert.typing import Array

Ref = Any
"""What a kernel reads and writes."""
_SCORES = 512 * 1024
"""Worked on at a time, of all heads and rows: 2 MiB of float32, several times over."""
_LOG2_E = math.log2(math.e)
_OVER_LAST = ((1,), (1,)), ((), ())
"""A product with the transposed: both are summed over their last axis."""


def fused_attention(
    query: Float[Array, "batch seq heads head_dim"],
    keys: Float[Array, "batch seq heads head_dim"],
    value: Float[Array, "batch seq heads head_dim"],
    query_ids: Int[Array, "batch seq"],
    key_ids: Int[Array, "batch seq"],
    dropout_rate: float = 0.0,
    key: Array | None = None,
) -> Float[Array, "batch seq heads head_dim"]:
    """Attends where the ids are equal; no key: drops nothing.

    A query without any key is finite and means nothing. Off TPU the kernels are interpreted.
    """
    placement, (batch, length, heads, head_dim) = current_placement(), query.shape
    rate = 0.0 if key is None else dropout_rate
    interpret = current_platform() != "tpu"
    settings = _Settings(head_dim, dropped_of_256(rate), scale_of(rate), interpret)
    seeds = jnp.zeros((batch, heads, 2), jnp.uint32)
    if key is not None:
        seeds = draw_seeds(key, batch, heads)
    inputs = [whole_lanes(x) for x in (query, keys, value)]
    inputs += [whole_lanes(x, fill=NO_ID) for x in (query_ids, key_ids)]

    def attend(*inputs: Array) -> Array:
        query, keys, value, query_ids, key_ids, seeds = inputs
        flat = (x.reshape(*x.shape[:2], -1) for x in (query, keys, value))
        grouped = seeds.reshape(seeds.shape[0], -1, settings.together, 2)
        ids = query_ids[:, None, :], key_ids[:, :, None]
        return _attend(settings, *flat, *ids, grouped).reshape(query.shape)

    if placement is not None:
        rows, heads_third = placement.by_row, placement.by_late_head
        parts = (*[heads_third] * 3, rows, rows, placement.by_head)
        attend = placement.each(attend, parts, heads_third)
    return attend(*inputs, seeds)[:, :length]


class _Settings(NamedTuple):
    """What the kernels are compiled for."""

    head_dim: int
    dropped: int
    """Of 256 weights."""
    scale: float
    """Of those that are kept."""
    interpret: bool

    @property
    def together(self) -> int:
        """Heads that share a register."""
        return LANES // self.head_dim

    def parts(self, rows: int) -> "list[_Part]":
        """Every head of every row that a kernel sees."""
        return [
            _Part(row, slice(n, n + 1), slice(n * self.head_dim, (n + 1) * self.head_dim))
            for row in range(rows)
            for n in range(self.together)
        ]


class _Part(NamedTuple):
    row: int
    head: slice
    lanes: slice


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(settings: _Settings, *inputs: Array) -> Array:
    """[batch, seq, heads x head_dim], whole registers of positions."""
    return _forward(settings, *inputs)[0]


def _forward(settings: _Settings, *inputs: Array) -> tuple[Array, tuple[Array, ...]]:
    query = inputs[0]
    blocks = _Blocks.of(query, settings)
    batch, length, _ = query.shape
    of_sums = jax.ShapeDtypeStruct((batch, blocks.grid[1], settings.together, length), jnp.float32)
    attended, sums = pl.pallas_call(
        partial(_forward_kernel, settings),
        name="fused_attention_forward",
        grid=blocks.grid,
        in_specs=blocks.inputs,
        out_specs=[blocks.queries, blocks.sums],
        out_shape=[jax.ShapeDtypeStruct(query.shape, query.dtype), of_sums],
        cost_estimate=_cost(query, settings, products=2, arrays=4),
        interpret=settings.interpret,
    )(*inputs)
    attended, sums = as_attended(attended), as_attended(sums)
    return attended, (*inputs, attended, sums)


def _backward(
    settings: _Settings, saved: tuple[Array, ...], slope: Array
) -> tuple[Array | None, ...]:
    query = saved[0]
    blocks = _Blocks.of(query, settings)
    like = jax.ShapeDtypeStruct(query.shape, query.dtype)
    slopes = pl.pallas_call(
        partial(_backward_kernel, settings),
        name="fused_attention_backward",
        grid=blocks.grid,
        in_specs=[*blocks.inputs, blocks.queries, blocks.sums, blocks.queries],
        out_specs=[blocks.queries, blocks.row, blocks.row],
        out_shape=[like] * 3,
        cost_estimate=_cost(query, settings, products=5, arrays=8),
        scratch_shapes=[pltpu.VMEM((blocks.rows, LANES, query.shape[1]), jnp.float32)] * 2,
        interpret=settings.interpret,
    )(*saved, slope)
    return (*slopes, None, None, None)


_attend.defvjp(_forward, _backward)


def _cost(query: Array, settings: _Settings, *, products: int, arrays: int) -> pl.CostEstimate:
    """What XLA is told, of `arrays` like the queries."""
    batch, length, width = query.shape
    return pl.CostEstimate(
        flops=2 * products * batch * length**2 * width,
        transcendentals=batch * length**2 * width // settings.head_dim,
        bytes_accessed=arrays * query.size * query.dtype.itemsize,
    )


class _Blocks(NamedTuple):
    """What one call of a kernel sees: queries of rows, with the keys and values of these."""

    rows: int
    grid: tuple[int, int, int]
    queries: pl.BlockSpec
    row: pl.BlockSpec
    inputs: list[pl.BlockSpec]
    sums: pl.BlockSpec

    @classmethod
    def of(cls, query: Array, settings: _Settings) -> "_Blocks":
        batch, length, width = query.shape
        every_query = settings.together * length
        chunk = _divisor(length, _SCORES // every_query, LANES)
        rows = _divisor(batch, _SCORES // (every_query * chunk), 1)
        queries = pl.BlockSpec((rows, chunk, LANES), lambda b, h, q: (b, q, h))
        row = pl.BlockSpec((rows, length, LANES), lambda b, h, q: (b, 0, h))
        query_ids = pl.BlockSpec((rows, 1, chunk), lambda b, h, q: (b, 0, q))
        key_ids = pl.BlockSpec((rows, length, 1), lambda b, h, q: (b, 0, 0))
        seeds = pl.BlockSpec((rows, 1, settings.together, 2), lambda b, h, q: (b, h, 0, 0))
        sums = pl.BlockSpec((rows, 1, settings.together, chunk), lambda b, h, q: (b, h, 0, q))
        grid = batch // rows, width // LANES, length // chunk
        return cls(rows, grid, queries, row, [queries, row, row, query_ids, key_ids, seeds], sums)


def _divisor(of: int, most: int, unit: int) -> int:
    """The largest multiple of `unit` that divides and is not above `most`; at least `unit`."""
    return max(n for n in range(unit, max(most, unit) + 1, unit) if of % n == 0)


def _forward_kernel(
    settings: _Settings,
    query: Ref,
    keys: Ref,
    value: Ref,
    query_ids: Ref,
    key_ids: Ref,
    seeds: Ref,
    attended: Ref,
    sums: Ref,
) -> None:
    parts = settings.parts(query.shape[0])
    # Step by step for all of them: the compiler puts products beside the sums of another head.
    scores = _scores(settings, query, keys, query_ids, key_ids)
    largest = [x.max(axis=0, keepdims=True) for x in scores]
    weights = [jnp.exp2(x - most) for x, most in zip(scores, largest, strict=True)]
    totals = [x.sum(axis=0, keepdims=True) for x in weights]
    by_feature = [value[row].T for row in range(query.shape[0])]
    found = []
    for i, (row, head, lanes) in enumerate(parts):
        sums[row, 0, head] = largest[i] + jnp.log2(totals[i])
        [acting] = _left(settings, seeds[row, 0, head], weights[i])
        values = _product(by_feature[row][lanes], acting.astype(value.dtype))
        found.append(values * (settings.scale / totals[i]))
    _write(settings, found, attended)


def _backward_kernel(
    settings: _Settings,
    query: Ref,
    keys: Ref,
    value: Ref,
    query_ids: Ref,
    key_ids: Ref,
    seeds: Ref,
    attended: Ref,
    sums: Ref,
    slope: Ref,
    of_query: Ref,
    of_keys: Ref,
    of_value: Ref,
    key_sums: Ref,
    value_sums: Ref,
) -> None:
    @pl.when(pl.program_id(2) == 0)
    def begin() -> None:
        key_sums[...] = jnp.zeros_like(key_sums)
        value_sums[...] = jnp.zeros_like(value_sums)

    dtype, rows, parts = query.dtype, range(query.shape[0]), settings.parts(query.shape[0])
    slopes = [slope[row].astype(jnp.float32) for row in rows]
    shrunk = [(slopes[row] * settings.scale).astype(dtype) for row in rows]
    shares = [(slopes[row] * attended[row].astype(jnp.float32)).T for row in rows]
    by_feature = [[x.T for x in (query[row], keys[row], shrunk[row])] for row in rows]
    scores = _scores(settings, query, keys, query_ids, key_ids)
    of_acting = [
        _product(_only(lanes, value[row]), shrunk[row], _OVER_LAST) for row, _, lanes in parts
    ]
    acting, of_scores = [], []
    for i, (row, head, lanes) in enumerate(parts):
        weights = jnp.exp2(scores[i] - sums[row, 0, head])
        left = _left(settings, seeds[row, 0, head], weights, of_acting[i])
        of_row = shares[row][lanes].sum(axis=0, keepdims=True)
        acting.append(left[0].astype(dtype))
        of_scores.append((weights * (left[1] - of_row)).astype(dtype))
    found = []
    for i, (row, _, lanes) in enumerate(parts):
        queries, own_keys, own_slopes = (x[lanes] for x in by_feature[row])
        value_sums[row, lanes] += _product(own_slopes, acting[i], _OVER_LAST)
        key_sums[row, lanes] += _product(queries, of_scores[i], _OVER_LAST)
        found.append(_product(own_keys, of_scores[i]) * settings.head_dim**-0.5)
    _write(settings, found, of_query)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def end() -> None:
        for row in rows:
            of_keys[row] = (key_sums[row] * settings.head_dim**-0.5).T.astype(dtype)
            of_value[row] = value_sums[row].T.astype(dtype)


def _scores(
    settings: _Settings, query: Ref, keys: Ref, query_ids: Ref, key_ids: Ref
) -> list[Float[Array, "key query"]]:
    """Of every part, for a softmax of base 2."""
    to_base_2 = _LOG2_E * settings.head_dim**-0.5
    masks = [key_ids[row] == query_ids[row] for row in range(query.shape[0])]
    found = []
    for row, _, lanes in settings.parts(query.shape[0]):
        scores = _product(_only(lanes, keys[row]), query[row], _OVER_LAST) * to_base_2
        found.append(jnp.where(masks[row], scores, MASKED_SCORE))
    return found


def _left(
    settings: _Settings, seeds: UInt32[Array, "1 2"], *found: Float[Array, "key query"]
) -> list[Float[Array, "key query"]]:
    """`found`, without what dropout takes."""
    if not settings.dropped:
        return list(found)
    length, chunk = found[0].shape
    queries = jax.lax.broadcasted_iota(jnp.int32, (1, chunk), 1) + pl.program_id(2) * chunk
    left = kept(seeds[:, :1], seeds[:, 1:], length, queries, settings.dropped)
    return [jnp.where(left, x, 0.0) for x in found]


def _write(settings: _Settings, found: list[Float[Array, "head_dim query"]], out: Ref) -> None:
    """Heads side by side, as rows have them."""
    for row in range(out.shape[0]):
        heads = found[row * settings.together :][: settings.together]
        out[row] = jnp.concatenate(heads).T.astype(out.dtype)


def _only(lanes: slice, x: Array) -> Array:
    """`x` with zeros in all other lanes."""
    if lanes == slice(0, LANES):
        return x
    lane = jax.lax.broadcasted_iota(jnp.int32, (1, LANES), 1)
    return jnp.where((lane >= lanes.start) & (lane < lanes.stop), x, 0).astype(x.dtype)


def _product(left: Array, right: Array, dimensions: Any = (((1,), (0,)), ((), ()))) -> Array:
    return jax.lax.dot_general(left, right, dimensions, preferred_element_type=jnp.float32)
