"""Disentangled attention over relative positions (He et al. 2020, DeBERTa, section 3.1)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxbert.nn.attention import AttentionInputs, SelfAttention
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.linear import Linear
from jaxbert.nn.relative import of_pairs
from jaxbert.typing import Array


class DisentangledAttention(SelfAttention):
    """Scores of content to content, content to position and position to content."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        super().__init__(config, dtype=dtype, rngs=rngs)
        relative = config.relative_attention
        assert relative is not None
        self.relative, self.relative_dropout_rate = relative, config.hidden_dropout_prob

        def project(bias: bool = True) -> Linear:
            size, stddev = config.hidden_size, config.initializer_range
            return Linear(size, size, stddev=stddev, dtype=dtype, rngs=rngs, use_bias=bias)

        if not relative.share_att_key and "c2p" in relative.pos_att_type:
            self.position_key = project(config.key_bias)
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
        positions, kinds = inputs.relative, self.relative.pos_att_type
        assert positions is not None
        offsets = dropout(positions.embeddings, self.relative_dropout_rate, key, rows=False)
        scores = jnp.einsum("bqnd,bknd->bnqk", query, keys, preferred_element_type=jnp.float32)
        if "c2p" in kinds:
            project = self.key if self.relative.share_att_key else self.position_key
            projected = self.heads(project(offsets, key, rows=False))
            scores += _against_positions(query, projected, positions.rows)
        if "p2c" in kinds:
            project = self.query if self.relative.share_att_key else self.position_query
            projected = self.heads(project(offsets, key, rows=False))
            by_key = _against_positions(keys, projected, positions.rows.T)
            scores += by_key.swapaxes(2, 3)
        return scores * (query.shape[-1] * (1 + len(set(kinds)))) ** -0.5


def _against_positions(
    content: Float[Array, "batch seq heads head_dim"],
    offsets: Float[Array, "offsets heads head_dim"],
    rows: Int[Array, "seq seq"],
) -> Float[Array, "batch heads seq seq"]:
    """float32 products of every position's content with the offsets named by its row of `rows`.

    `rows` says the same wherever two positions are as far apart. So every position is multiplied
    with all 2 x seq - 1 distances, and its products with those that occur are taken of them.
    """
    # From the last position before the first one to the reverse, and one more to cut off.
    at = jnp.concatenate([rows[::-1, 0], rows[0, 1:], rows[0, -1:]])
    # Gradients of distances that share an offset are added in float32.
    by_distance = offsets.astype(jnp.float32)[at].astype(offsets.dtype)
    products = jnp.einsum(
        "bqnd,ond->bnqo", content, by_distance, preferred_element_type=jnp.float32
    )
    return of_pairs(products)
