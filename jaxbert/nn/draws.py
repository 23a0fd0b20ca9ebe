"""Random draws that follow from the row of the batch, not from the device that holds it."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from jaxbert.nn.placement import first_row
from jaxbert.typing import Array


def by_row(draw: Callable[[Array, Array], Array], key: Array, x: Array) -> Array:
    """`draw(key, row)` for every row of x, [batch, ...], each with a key of its own.

    Generators other than threefry2x32 draw for all rows at once, which is what makes them cheap:
    `draw(key, x)`. Of these every device needs a key of its own; see `key_of_device`.
    """
    if not _is_threefry(key):
        return draw(key, x)
    rows = first_row(x.shape[0]) + jnp.arange(x.shape[0])
    return jax.vmap(draw)(jax.vmap(jax.random.fold_in, (None, 0))(key, rows), x)


def random_bytes(key: Array, shape: tuple[int, ...]) -> Array:
    """uint8 of the key's generator, `shape`.

    Of threefry2x32 every byte of every block is used; `jax.random.bits` computes a block of eight
    for each byte.
    """
    if not _is_threefry(key):
        return jax.random.bits(key, shape, jnp.uint8)
    size = math.prod(shape)
    counts = jax.lax.iota(jnp.uint32, -(-size // 4))
    words = threefry_2x32(jax.random.key_data(key), counts)
    return jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size].reshape(shape)


def key_of_device(key: Array) -> Array:
    """What the rows that are here are drawn from, where `by_row` does not tell them apart."""
    return key if _is_threefry(key) else jax.random.fold_in(key, first_row(1))


def _is_threefry(key: Array) -> bool:
    return str(jax.random.key_impl(key)) == "threefry2x32"
