"""Disentangled attention over relative positions (He et al. 2020, DeBERTa, section 3.1)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.attention import AttentionInputs, SelfAttention
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.linear import Linear
from jaxbert.nn.norm import norm
from jaxbert.nn.parts import RelativeAttention
from jaxbert.typing import Array


class RelativeEmbeddings(nnx.Module):
    """One table of 2 * span relative positions for all layers."""

    def __init__(self, config: EncoderConfig, relative: RelativeAttention, rngs: nnx.Rngs):
        initial = nnx.initializers.truncated_normal(config.initializer_range)
        shape = (2 * relative.span, config.hidden_size)
        self.embedding = nnx.Param(initial(rngs.params(), shape, jnp.float32))
        self.has_norm = relative.norm_rel_ebd
        if self.has_norm:
            self.norm = norm(config, rngs)

    def __call__(self, dtype: DTypeLike) -> Float[Array, "offsets hidden"]:
        """The (normed) table in `dtype`."""
        table = self.embedding[...]
        return (self.norm(table) if self.has_norm else table).astype(dtype)


class DisentangledAttention(SelfAttention):
    """Scores of content to content, content to position and position to content."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        super().__init__(config, dtype=dtype, rngs=rngs)
        relative = config.relative_attention
        assert relative is not None
        self.relative, self.relative_dropout_rate = relative, config.hidden_dropout_prob

        def project() -> Linear:
            size, stddev = config.hidden_size, config.initializer_range
            return Linear(size, size, stddev=stddev, dtype=dtype, rngs=rngs)

        if not relative.share_att_key and "c2p" in relative.pos_att_type:
            self.position_key = project()
        if not relative.share_att_key and "p2c" in relative.pos_att_type:
            self.position_query = project()

    def scores(
        self,
        query: Float[Array, "batch seq heads head_dim"],
        keys: Float[Array, "batch seq heads head_dim"],
        inputs: AttentionInputs,
        key: Array | None,
    ) -> Float[Array, "batch heads seq seq"]:
        """float32 sum of the kinds of scores, over the root of their number times the width."""
        assert inputs.relative is not None
        kinds, length = self.relative.pos_att_type, query.shape[1]
        offsets = dropout(inputs.relative, self.relative_dropout_rate, key)
        index = jnp.asarray(relative_index(length, self.relative))
        scores = jnp.einsum("bqnd,bknd->bnqk", query, keys, preferred_element_type=jnp.float32)
        if "c2p" in kinds:
            project = self.key if self.relative.share_att_key else self.position_key
            by_offset = _against_offsets(query, self.heads(project(offsets)))
            scores += jnp.take_along_axis(by_offset, index[None, None], axis=-1)
        if "p2c" in kinds:
            project = self.query if self.relative.share_att_key else self.position_query
            by_offset = _against_offsets(keys, self.heads(project(offsets)))
            scores += jnp.take_along_axis(by_offset, index.T[None, None], axis=-1).swapaxes(2, 3)
        return scores * (query.shape[-1] * (1 + len(set(kinds)))) ** -0.5


def relative_index(length: int, relative: RelativeAttention) -> np.ndarray:
    """int32 [query, key]: the row of the table for every pair of positions."""
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    if relative.position_buckets > 0:
        distance = log_bucket(distance, relative)
    return np.clip(distance + relative.span, 0, 2 * relative.span - 1).astype(np.int32)


def log_bucket(distance: np.ndarray, relative: RelativeAttention) -> np.ndarray:
    """Distances up to half the buckets as they are, farther ones in logarithmic steps.

    In float32 and in the reference's order of operations: the ceiling decides at exact steps.
    """
    middle = relative.position_buckets // 2
    far = np.maximum(np.abs(distance), middle).astype(np.float32)
    steepness = np.log(np.float32((relative.max_relative_positions - 1) / middle))
    steps = np.ceil(np.log(far / np.float32(middle)) / steepness * np.float32(middle - 1))
    return np.where(np.abs(distance) <= middle, distance, np.sign(distance) * (steps + middle))


def _against_offsets(
    content: Float[Array, "batch seq heads head_dim"],
    offsets: Float[Array, "offsets heads head_dim"],
) -> Float[Array, "batch heads seq offsets"]:
    return jnp.einsum("bsnd,ond->bnso", content, offsets, preferred_element_type=jnp.float32)
