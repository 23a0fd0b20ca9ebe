"""Rotary position embeddings (Su et al. 2021), in the half-split layout of Hugging Face."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from jaxbert.typing import Array


class Rotation(NamedTuple):
    """float32 cosines and sines by position, [..., seq, head_dim / 2] each."""

    cosine: Array
    sine: Array


def rotation(
    length: int,
    head_dim: int,
    theta: float,
    factor: float = 1.0,
    given: Sequence[float] | None = None,
) -> Rotation:
    """[length, head_dim / 2]: p turns pair i by the angle p / factor / theta^(2 i / head_dim).

    Or by p / factor * `given`[i].
    """
    turns = frequencies(head_dim, theta) if given is None else np.array(given, np.float32)
    turns = turns / np.float32(factor)
    angles = np.arange(length, dtype=np.float32)[:, None] * turns
    cosine, sine = np.cos(angles, dtype=np.float64), np.sin(angles, dtype=np.float64)
    return Rotation(jnp.asarray(cosine, jnp.float32), jnp.asarray(sine, jnp.float32))


def frequencies(head_dim: int, theta: float) -> NDArray[np.float32]:
    """[head_dim / 2]: by what angle a position turns each pair."""
    # The reference rounds powers, frequencies and angles to float32, which at position 8,000 is a
    # turn of 5e-4: the models were trained with it. Each function is exact before it is rounded.
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers = np.power(theta, exponents.astype(np.float64)).astype(np.float32)
    return np.float32(1.0) / powers


def rotate(
    x: Float[Array, "batch seq heads head_dim"], by: Rotation
) -> Float[Array, "batch seq heads head_dim"]:
    """Turns the pairs (i, i + head_dim / 2) of every head in float32; the dtype of `x` returns.

    `by` is of the tokens of every row, or one for all rows (batch 1).
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cosine, sine = by.cosine[:, :, None], by.sine[:, :, None]
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
