"""One weight a text for every entry of the vocabulary, without the logits of all its tokens."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Shaped

from jaxbert.nn.examples import Examples
from jaxbert.nn.head import Splade
from jaxbert.nn.placement import varying_alike
from jaxbert.typing import Array

_COLUMNS = 2048
"""So many entries of the vocabulary at once, where their number can be divided so."""


def vocabulary_weights(
    x: Float[Array, "batch seq width"],
    table: Float[Array, "padded_vocab width"],
    bias: Float[Array, " padded_vocab"],
    examples: Examples,
    how: Splade,
) -> Float[Array, "batch *examples padded_vocab"]:
    """The logits x @ table.T + bias of an example's real tokens, damped and pooled, in float32.

    Formal et al. 2021 (SPLADE v2), section 3: the largest of log(1 + relu(logit)), or their sum
    as in their first paper. Products are of the dtype of `x`. Logits are there for one block of the
    vocabulary at a time; of equal ones the first has the gradient, as of `torch.max` over a
    dimension, where JAX's own would be shared. 0 for an example without tokens.
    """
    ids, count = examples.is_real.astype(jnp.int32), 1
    if examples.sequence_ids is not None:
        ids, count = examples.sequence_ids.astype(jnp.int32), examples.members.shape[1]
    x, table, bias = varying_alike(x, table, bias)
    found = _pooled(how, count, x, table, bias, ids)
    if how.pooling == "max":
        # Damping keeps the order: it is enough to do it to the largest.
        found = _damped(how, found)
    return found[:, 0] if examples.sequence_ids is None else found


def _damped(how: Splade, logits: Array) -> Array:
    once = jnp.log1p(jax.nn.relu(logits))
    return once if how.activation == "relu" else jnp.log1p(once)


class _Kept(NamedTuple):
    """What the gradient needs."""

    x: Array
    table: Array
    bias: Array
    ids: Array
    places: Array | None
    """int32 [blocks, batch, examples, columns]: the column of the largest logit; None: of sums."""


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pooled(
    how: Splade,
    count: int,
    x: Float[Array, "batch seq width"],
    table: Float[Array, "padded_vocab width"],
    bias: Float[Array, " padded_vocab"],
    ids: Int[Array, "batch seq"],
) -> Float[Array, "batch examples padded_vocab"]:
    """The largest logit of each of `count` examples, or the sum of damped ones."""

    def of_block(block: tuple[Array, Array]) -> Array:
        return _of_examples(how, _logits(x, *block), ids, count)

    return _joined(jax.lax.map(of_block, _blocks(x, table, bias)))


def _forward(
    how: Splade, count: int, x: Array, table: Array, bias: Array, ids: Array
) -> tuple[Array, _Kept]:
    if how.pooling == "sum":
        return _pooled(how, count, x, table, bias, ids), _Kept(x, table, bias, ids, None)

    def of_block(block: tuple[Array, Array]) -> tuple[Array, Array]:
        logits = _logits(x, *block)
        places = jnp.argmax(_by_example(logits, ids, count, -jnp.inf), axis=2)
        return _of_examples(how, logits, ids, count), places.astype(jnp.int32)

    found, places = jax.lax.map(of_block, _blocks(x, table, bias))
    return _joined(found), _Kept(x, table, bias, ids, places)


def _backward(
    how: Splade, count: int, kept: _Kept, slope: Float[Array, "batch examples padded_vocab"]
) -> tuple[Array, Array, Array, None]:
    x, ids = kept.x, kept.ids
    columns, own = jnp.arange(x.shape[1]), jnp.maximum(ids - 1, 0)[..., None]
    kernels, biases = _blocks(x, kept.table, kept.bias)
    slopes = jnp.moveaxis(slope.reshape(*slope.shape[:2], -1, len(kernels)), -1, 0)

    def of_tokens(values: Shaped[Array, "batch examples columns"]) -> Array:
        """[batch, seq | 1, columns]: what every token's example has."""
        return values if count == 1 else jnp.take_along_axis(values, own, axis=1)

    def add(total: Array, block: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        kernel, bias, slope, *places = block
        if places:
            is_largest = of_tokens(places[0]) == columns[None, :, None]
            of_logits = jnp.where(is_largest & (ids > 0)[..., None], of_tokens(slope), 0.0)
            # Every slope that is not 0 has its token; as a sum over all of these it would take as
            # long as a product.
            of_bias = jnp.sum(slope, axis=(0, 1))
        else:
            _, pull = jax.vjp(partial(_damped, how), _logits(x, kernel, bias))
            [of_logits] = pull(jnp.where((ids > 0)[..., None], of_tokens(slope), 0.0))
            of_bias = jnp.sum(of_logits, axis=(0, 1))
        # As `product_with_table`: slopes of the vocabulary's logits are rounded to the products'.
        # Once for both products: XLA:TPU would compute them again within each.
        rounded = jax.lax.optimization_barrier(of_logits.astype(x.dtype))
        total += _product(rounded, kernel, ((2,), (0,)))
        return total, (_product(rounded, x, ((0, 1), (0, 1))), of_bias)

    places = () if kept.places is None else (kept.places,)
    [nothing] = varying_alike(jnp.zeros(x.shape, jnp.float32), x)[:1]
    of_x, (of_kernels, of_biases) = jax.lax.scan(add, nothing, (kernels, biases, slopes, *places))
    of_table = jnp.moveaxis(of_kernels, 0, 1).reshape(kept.table.shape)
    of_bias = of_biases.T.reshape(kept.bias.shape)
    return of_x.astype(x.dtype), of_table.astype(kept.table.dtype), of_bias, None


_pooled.defvjp(_forward, _backward)


def _blocks(x: Array, table: Array, bias: Array) -> tuple[Array, Array]:
    """The rows of the table as [blocks, rows, width], and theirs of the bias, in the dtype of `x`.

    Row r of block b is row r * blocks + b of the table, so that a table whose rows are split over
    devices has a part of every block on each of them.
    """
    rows, count = len(table), 1
    while rows % (2 * count) == 0 and rows > count * _COLUMNS:
        count *= 2
    kernels = table.astype(x.dtype).reshape(-1, count, table.shape[1])
    return jnp.moveaxis(kernels, 1, 0), bias.astype(jnp.float32).reshape(-1, count).T


def _joined(blocks: Float[Array, "blocks batch examples columns"]) -> Array:
    """[batch, examples, padded_vocab] of what was computed for the blocks of `_blocks`."""
    joined = jnp.moveaxis(blocks, 0, -1)
    return joined.reshape(*joined.shape[:2], -1)


def _logits(
    x: Float[Array, "batch seq width"],
    kernel: Float[Array, "columns width"],
    bias: Float[Array, " columns"],
) -> Float[Array, "batch seq columns"]:
    return _product(x, kernel, ((2,), (1,))) + bias[None, None]


def _product(a: Array, b: Array, over: tuple[tuple[int, ...], tuple[int, ...]]) -> Array:
    return jax.lax.dot_general(a, b, (over, ((), ())), preferred_element_type=jnp.float32)


def _by_example(
    values: Float[Array, "batch seq columns"],
    ids: Int[Array, "batch seq"],
    count: int,
    other: float,
) -> Float[Array, "batch examples seq columns"]:
    """The values of every example's tokens, `other` elsewhere; broadcast where they are reduced."""
    is_own = ids[:, None] == jnp.arange(1, count + 1)[None, :, None]
    return jnp.where(is_own[..., None], values[:, None], other)


def _of_examples(
    how: Splade, logits: Float[Array, "batch seq columns"], ids: Array, count: int
) -> Float[Array, "batch examples columns"]:
    if how.pooling == "max":
        return jnp.max(_by_example(logits, ids, count, -jnp.inf), axis=2)
    return jnp.sum(_by_example(_damped(how, logits), ids, count, 0.0), axis=2)
