"""A learnt bias of attention's scores by the distance between tokens (Raffel et al. 2020, 2.1)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.parts import RelativeBias
from jaxbert.nn.relative import of_pairs
from jaxbert.typing import Array


class ScoreBias(nnx.Module):
    """One table of [buckets, heads] for all layers."""

    def __init__(self, config: EncoderConfig, relative: RelativeBias, rngs: nnx.Rngs):
        initial = nnx.initializers.truncated_normal(config.initializer_range)
        shape = (relative.relative_attention_num_buckets, config.num_attention_heads)
        self.embedding = nnx.Param(initial(rngs.params(), shape, jnp.float32))
        self.relative = relative

    def __call__(self, length: int) -> Float[Array, "heads seq seq"]:
        """What a row of `length` tokens adds to the scores of [head, query, key], in float32.

        By columns: of packed rows the distances within an example are those of its own row.
        """
        # From the last query and the first key to the reverse, and one more to cut off.
        distances = length - 1 - np.arange(2 * length)
        by_distance = self.embedding[...].T[:, bucket(distances, self.relative)]
        shape = (by_distance.shape[0], length, 2 * length)
        return of_pairs(jnp.broadcast_to(by_distance[:, None, :], shape))


def bucket(distance: np.ndarray, relative: RelativeBias) -> np.ndarray:
    """int32: the bucket of query position minus key position.

    In float32 and in the reference's order of operations: the steps end at exact distances.
    """
    half = relative.relative_attention_num_buckets // 2
    single, furthest = half // 2, relative.relative_attention_max_distance
    away = np.abs(distance)
    far = np.maximum(away, single).astype(np.float32) / np.float32(single)
    steps = np.log(far) / np.float32(np.log(furthest / single)) * np.float32(half - single)
    shared = np.minimum(single + steps.astype(np.int32), half - 1)
    return (np.where(away < single, away, shared) + half * (distance < 0)).astype(np.int32)
