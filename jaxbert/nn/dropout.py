"""Dropout as a function of an explicit key."""

import jax
import jax.numpy as jnp

from jaxbert.typing import Array


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zeroes entries of `x` with probability `rate` and scales the rest; no key: returns `x`.

    Draws 8 bits per entry (a quarter of the bytes of 32), so the rate that acts is the nearest
    multiple of 1/256: 0.1 acts as 26/256. The scale uses the acting rate, which keeps the
    expectation exact. The generator is the key's own implementation (threefry2x32, rbg, ...).
    """
    threshold = round(rate * 256)
    if key is None or threshold == 0:
        return x
    keep = jax.random.bits(key, x.shape, jnp.uint8) >= threshold
    scale = jnp.asarray(256.0 / (256 - threshold), x.dtype)
    return jnp.where(keep, x * scale, jnp.zeros((), x.dtype))


def split_key(key: Array | None, count: int) -> tuple[Array | None, ...]:
    """`count` independent keys, or as many None where there is no key (deterministic)."""
    return (None,) * count if key is None else tuple(jax.random.split(key, count))
