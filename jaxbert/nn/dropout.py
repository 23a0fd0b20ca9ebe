"""Dropout as a function of an explicit key."""

import jax
import jax.numpy as jnp

from jaxbert.nn.draws import by_row, random_bytes
from jaxbert.typing import Array


def dropout(x: Array, rate: float, key: Array | None, *, rows: bool = True) -> Array:
    """Zeroes entries of `x` with probability `rate` and scales the rest; no key: returns `x`.

    Draws 8 bits per entry (a quarter of the bytes of 32), so the rate that acts is the nearest
    multiple of 1/256: 0.1 acts as 26/256. The scale uses the acting rate, which keeps the
    expectation. The generator is the key's own implementation (threefry2x32, rbg, ...). `rows`:
    the first dimension of `x` is that of the batch; else all rows share what is drawn.
    """
    left = kept(x, rate, key, rows=rows)
    if left is None:
        return x
    # In float32: the scale itself, rounded to bfloat16, would be 0.3 % off for every entry.
    scaled = (x.astype(jnp.float32) * scale_of(rate)).astype(x.dtype)
    return jnp.where(left, scaled, jnp.zeros((), x.dtype))


def kept(x: Array, rate: float, key: Array | None, *, rows: bool = True) -> Array | None:
    """Which entries of an array like `x` dropout leaves; None: all of them."""
    if key is None or dropped_of_256(rate) == 0:
        return None
    drawn = by_row(_bits, key, x) if rows else _bits(key, x)
    return drawn >= dropped_of_256(rate)


def scale_of(rate: float) -> float:
    """By what the entries grow that dropout leaves."""
    return 256 / (256 - dropped_of_256(rate))


def dropped_of_256(rate: float) -> int:
    """Entries that dropout takes of 256, on average."""
    return min(round(rate * 256), 255)


def _bits(key: Array, x: Array) -> Array:
    return random_bytes(key, x.shape)


def split_key(key: Array | None, count: int) -> tuple[Array | None, ...]:
    """`count` independent keys, or as many None where there is no key (deterministic)."""
    return (None,) * count if key is None else tuple(jax.random.split(key, count))
