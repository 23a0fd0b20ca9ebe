"""Random draws that follow from the row of the batch, not from the device that holds it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxbert.nn.placement import first_row
from jaxbert.typing import Array


def by_row(draw: Callable[[Array, Array], Array], key: Array, x: Array) -> Array:
    """`draw(key, row)` for every row of x, [batch, ...], each with a key of its own.

    Generators other than threefry2x32 draw for all rows at once, which is what makes them cheap:
    `draw(key, x)`. Of these every device needs a key of its own; see `key_of_device`.
    """
    if not _is_by_row(key):
        return draw(key, x)
    rows = first_row(x.shape[0]) + jnp.arange(x.shape[0])
    return jax.vmap(draw)(jax.vmap(jax.random.fold_in, (None, 0))(key, rows), x)


def key_of_device(key: Array) -> Array:
    """What the rows that are here are drawn from, where `by_row` does not tell them apart."""
    return key if _is_by_row(key) else jax.random.fold_in(key, first_row(1))


def _is_by_row(key: Array) -> bool:
    return str(jax.random.key_impl(key)) == "threefry2x32"
