"""Embeddings of relative positions (He et al. 2020, DeBERTa, section 3.1)."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.norm import norm
from jaxbert.nn.parts import RelativeAttention
from jaxbert.typing import Array


class RelativePositions(NamedTuple):
    """The relative positions that occur in rows of one length."""

    embeddings: Float[Array, "offsets hidden"]
    """By query position minus key position, ascending."""
    rows: Int[Array, "seq seq"]
    """[query, key]: the row of `embeddings` for every pair of positions."""


class RelativeEmbeddings(nnx.Module):
    """One table of 2 * span relative positions for all layers."""

    def __init__(self, config: EncoderConfig, relative: RelativeAttention, rngs: nnx.Rngs):
        initial = nnx.initializers.truncated_normal(config.initializer_range)
        shape = (2 * relative.span, config.hidden_size)
        self.embedding = nnx.Param(initial(rngs.params(), shape, jnp.float32))
        if relative.norm_rel_ebd:
            self.norm = norm(config, rngs)
        self.relative = relative

    def __call__(self, length: int, dtype: DTypeLike) -> RelativePositions:
        """The (normed) rows that a row of `length` tokens reaches; the others are not computed."""
        rows = table_rows(length, self.relative)
        first, last = int(rows.min()), int(rows.max())
        table = self.embedding[...][first : last + 1]
        if self.relative.norm_rel_ebd:
            table = self.norm(table)
        return RelativePositions(table.astype(dtype), jnp.asarray(rows - np.int32(first)))


def of_pairs(
    by_distance: Float[Array, "*shape seq distances"],
) -> Float[Array, "*shape seq seq"]:
    """[..., query, key] of what every query has for all 2 x seq - 1 distances, and for one more.

    They descend from the last query and the first key to the reverse. Each row is moved by its
    position: a matter of strides. To look each pair up instead, and to add up the gradients, takes
    XLA on a TPU 2.5 times the cycles and 12 times the memory (v5e, 8 x 256 tokens, 16 heads).
    """
    *shape, length, distances = by_distance.shape
    assert distances == 2 * length
    lying = by_distance.reshape(*shape, 2 * length * length)
    moved = lying[..., length - 1 : 2 * length * length - 1]
    return moved.reshape(*shape, length, 2 * length - 1)[..., :length]


def table_rows(length: int, relative: RelativeAttention) -> np.ndarray:
    """int32 [query, key]: the row of the table for every pair of positions."""
    return row_at(np.arange(length)[:, None] - np.arange(length)[None, :], relative)


def row_at(distance: np.ndarray, relative: RelativeAttention) -> np.ndarray:
    """int32: the row of the table for query position minus key position."""
    if relative.position_buckets > 0:
        distance = log_bucket(distance, relative)
    return np.clip(distance + relative.span, 0, 2 * relative.span - 1).astype(np.int32)


def log_bucket(distance: np.ndarray, relative: RelativeAttention) -> np.ndarray:
    """Distances up to half the buckets as they are, farther ones in logarithmic steps.

    In float32 and in the reference's order of operations: the ceiling decides at exact steps.
    """
    middle = relative.position_buckets // 2
    if relative.max_relative_positions <= middle + 1:
        return distance
    far = np.maximum(np.abs(distance), middle).astype(np.float32)
    steepness = np.log(np.float32((relative.max_relative_positions - 1) / middle))
    steps = np.ceil(np.log(far / np.float32(middle)) / steepness * np.float32(middle - 1))
    return np.where(np.abs(distance) <= middle, distance, np.sign(distance) * (steps + middle))
