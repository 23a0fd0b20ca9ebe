"""How one vector comes from the tokens of a row, or from several layers."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import LayerMixture, Pooling
from jaxbert.nn.linear import Linear
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.typing import Array


def pool(
    x: Float[Array, "batch seq features"],
    mask: Bool[Array, "batch seq"],
    token_type_ids: Int[Array, "batch seq"],
    how: Pooling,
    num_types: int,
) -> Float[Array, "batch features"]:
    """One vector per row from the tokens where `mask` is True, computed in float32.

    cls: the first token, whatever the mask. segments: the mean of every sentence type, then the
    mean of those that occur, so that a long first sentence does not drown a short second one. A
    row without tokens gives zeros.
    """
    if how == "cls":
        return x[:, 0]
    if how == "max":
        # In the dtype of x: its largest value needs no arithmetic.
        largest = jnp.max(jnp.where(mask[..., None], x, -jnp.inf), axis=1)
        return jnp.where(jnp.any(mask, axis=1, keepdims=True), largest, 0)
    if how == "mean":
        return _mean(x, mask).astype(x.dtype)
    assert how == "segments"
    types = jnp.arange(num_types)
    inside = mask[:, None] & (token_type_ids[:, None] == types[None, :, None])
    means = jax.vmap(_mean, in_axes=(None, 1), out_axes=1)(x, inside)
    return _mean(means, jnp.any(inside, axis=2)).astype(x.dtype)


class AttentionPooling(nnx.Module):
    """The mean of the tokens weighted by a softmax of one learnt score (Yang et al. 2016)."""

    def __init__(self, features: int, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.score = Linear(
            features, 1, stddev=config.initializer_range, dtype=dtype, rngs=rngs, use_bias=False
        )

    def __call__(
        self, x: Float[Array, "batch seq features"], mask: Bool[Array, "batch seq"]
    ) -> Float[Array, "batch features"]:
        """The weighted mean, in the dtype of `x`; zeros for a row without tokens."""
        scores = self.score(x)[..., 0].astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(mask, scores, MASKED_SCORE), axis=-1)
        weights = jnp.where(mask, weights, 0.0)
        # Not a matrix product: by default those round float32 to bfloat16 on TPU.
        return jnp.sum(weights[..., None] * x.astype(jnp.float32), axis=1).astype(x.dtype)


class Mixture(nnx.Module):
    """The last layers as one: side by side, or summed with learnt weights (Peters et al. 2018)."""

    def __init__(self, mixture: LayerMixture):
        self.mixture = mixture
        if mixture.how == "weighted":
            self.weights = nnx.Param(jnp.zeros(mixture.num_layers, jnp.float32))
            self.scale = nnx.Param(jnp.ones(1, jnp.float32))

    def __call__(
        self, layers: tuple[Float[Array, "batch seq hidden"], ...]
    ) -> Float[Array, "batch seq features"]:
        """Mixes the last of `layers`; side by side the last layer comes last."""
        chosen = layers[-self.mixture.num_layers :]
        if self.mixture.how == "concatenated":
            return jnp.concatenate(chosen, axis=-1)
        weights = jax.nn.softmax(self.weights[...]) * self.scale[...]
        parts = [weights[i] * layer.astype(jnp.float32) for i, layer in enumerate(chosen)]
        return sum(parts[1:], parts[0]).astype(chosen[0].dtype)


def _mean(
    x: Float[Array, "batch items features"], mask: Bool[Array, "batch items"]
) -> Float[Array, "batch features"]:
    total = jnp.sum(jnp.where(mask[..., None], x.astype(jnp.float32), 0.0), axis=1)
    return total / jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
