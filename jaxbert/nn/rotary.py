"""Rotary position embeddings (Su et al. 2021), in the half-split layout of Hugging Face."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxbert.typing import Array


class Rotation(NamedTuple):
    """float32 cosines and sines, [seq, head_dim / 2] each."""

    cosine: Array
    sine: Array


def rotation(length: int, head_dim: int, theta: float) -> Rotation:
    """Position p turns pair i by the angle p / theta^(2 i / head_dim)."""
    # In float32 as the reference has them: the models were trained with its rounding of angles.
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = np.float32(1.0) / np.float32(theta) ** exponents
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    return Rotation(jnp.asarray(np.cos(angles)), jnp.asarray(np.sin(angles)))


def rotate(
    x: Float[Array, "batch seq heads head_dim"], by: Rotation
) -> Float[Array, "batch seq heads head_dim"]:
    """Turns the pairs (i, i + head_dim / 2) of every head in float32; the dtype of `x` returns."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cosine, sine = by.cosine[None, :, None], by.sine[None, :, None]
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
