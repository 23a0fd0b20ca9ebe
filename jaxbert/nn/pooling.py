"""How one vector comes from the tokens of an example, or from several layers."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.examples import Examples
from jaxbert.nn.head import LayerMixture, Pooling
from jaxbert.nn.linear import Linear
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.typing import Array


def pool(
    x: Float[Array, "batch seq features"],
    examples: Examples,
    token_type_ids: Int[Array, "batch seq"],
    how: Pooling,
    num_types: int,
) -> Float[Array, "batch *examples features"]:
    """One vector per example from its real tokens, computed in float32.

    cls: the first token, real or not. segments: the mean of every sentence type, then the mean of
    those that occur, so that a long first sentence does not drown a short second one. An example
    without tokens gives zeros, but for cls what stands in the first column.
    """
    if how == "cls":
        return examples.first(x)
    members = examples.members
    if how == "max":
        # In the dtype of x: its largest value needs no arithmetic.
        largest = jnp.max(jnp.where(members[..., None], _beside(x, members), -jnp.inf), axis=-2)
        return jnp.where(jnp.any(members, axis=-1, keepdims=True), largest, 0)
    if how == "mean":
        return _mean(x, members).astype(x.dtype)
    assert how == "segments"
    types = token_type_ids[:, None] == jnp.arange(num_types)[None, :, None]
    inside = members[..., None, :] & _beside(types, members)
    means = _mean(x, inside)
    return _mean(means, jnp.any(inside, axis=-1)).astype(x.dtype)


class AttentionPooling(nnx.Module):
    """The mean of the tokens weighted by a softmax of one learnt score (Yang et al. 2016)."""

    def __init__(self, features: int, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.score = Linear(
            features, 1, stddev=config.initializer_range, dtype=dtype, rngs=rngs, use_bias=False
        )

    def __call__(
        self, x: Float[Array, "batch seq features"], examples: Examples
    ) -> Float[Array, "batch *examples features"]:
        """The weighted mean, in the dtype of `x`; zeros for an example without tokens."""
        members = examples.members
        scores = _beside(self.score.total(x), members)[..., 0]
        weights = jax.nn.softmax(jnp.where(members, scores, MASKED_SCORE), axis=-1)
        weights = jnp.where(members, weights, 0.0)
        # Not a matrix product: by default those round float32 to bfloat16 on TPU.
        weighted = weights[..., None] * _beside(x.astype(jnp.float32), members)
        return jnp.sum(weighted, axis=-2).astype(x.dtype)


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
    x: Float[Array, "batch *groups items features"], mask: Bool[Array, "batch *masked items"]
) -> Float[Array, "batch *masked features"]:
    x = _beside(x.astype(jnp.float32), mask)
    total = jnp.sum(jnp.where(mask[..., None], x, 0.0), axis=-2)
    return total / jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)


def _beside(x: Array, members: Bool[Array, "batch *groups seq"]) -> Array:
    """`x` [batch, ..., seq, features] with axes of size 1 for groups that only `members` has.

    They are broadcast inside the sum that follows.
    """
    return jnp.expand_dims(x, tuple(range(1, 2 + members.ndim - x.ndim)))
