"""Multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import kept, scale_of, split_key
from jaxbert.nn.examples import Examples
from jaxbert.nn.execution import (
    PLAIN,
    Execution,
    Kernel,
    as_attended,
    for_several_products,
)
from jaxbert.nn.head_by_head import attend_by_head, pays
from jaxbert.nn.kernels import cudnn_attention
from jaxbert.nn.linear import Linear
from jaxbert.nn.numerics import attention_weights
from jaxbert.nn.placement import current_platform, varying_alike
from jaxbert.nn.relative import RelativePositions
from jaxbert.nn.rotary import Rotation, rotate
from jaxbert.nn.unseen_weights import attend
from jaxbert.typing import Array


class AttentionInputs(NamedTuple):
    """What all layers of one type share."""

    mask: Bool[Array, "batch 1 #seq seq"]
    """True = attend."""
    rotation: Rotation | None = None
    """Of queries and keys, where positions are rotary."""
    relative: RelativePositions | None = None
    """Where attention is disentangled."""
    bias: Float[Array, "heads seq seq"] | None = None
    """float32 [head, query, key], added to the scores of every row; XLA's alone adds it."""
    kernel: Kernel = "xla"
    examples: Examples | None = None
    """What a kernel makes its own mask of."""
    reach: int | None = None
    """Positions that a local window goes to either side."""
    wants_weights: bool = True
    """The caller is to have the attention weights, and may differentiate them."""
    execution: Execution = PLAIN


class Projections(NamedTuple):
    """What attention compares and adds up, before positions turn it; compute dtype."""

    query: Float[Array, "batch seq heads head_dim"]
    key: Float[Array, "batch seq shared head_dim"]
    value: Float[Array, "batch seq shared head_dim"]


class SelfAttention(nnx.Module):
    """Scaled dot-product attention.

    Query, key and value are separate products: under XLA:TPU one fused product and its split
    cost about 9 % more estimated cycles per layer.
    """

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        size, bias = config.hidden_size, config.attention_bias
        self.head_dim = size // config.num_attention_heads
        shared = config.key_value_heads * self.head_dim

        def project(outputs: int, stddev: float, bias: bool = bias) -> Linear:
            return Linear(size, outputs, stddev=stddev, dtype=dtype, rngs=rngs, use_bias=bias)

        self.query = project(size, config.initializer_range)
        self.key = project(shared, config.initializer_range, bias and config.key_bias)
        self.value = project(shared, config.initializer_range)
        self.output = project(size, config.output_initializer_range)
        self.heads_per_key = config.num_attention_heads // config.key_value_heads
        self.dropout_rate = config.attention_probs_dropout_prob

    def heads(self, x: Float[Array, "*shape hidden"]) -> Float[Array, "*shape heads head_dim"]:
        """Splits the features of a projection into heads."""
        return x.reshape(*x.shape[:-1], -1, self.head_dim)

    def project(self, x: Float[Array, "batch seq hidden"], key: Array | None) -> Projections:
        """Queries, keys and values; `key` is for the dropout of low-rank factors."""
        read = for_several_products(x)
        return Projections(*(self.heads(p(read, key)) for p in (self.query, self.key, self.value)))

    def scores(
        self,
        query: Float[Array, "batch seq heads head_dim"],
        keys: Float[Array, "batch seq heads head_dim"],
        inputs: AttentionInputs,
        key: Array | None,
    ) -> Float[Array, "batch heads seq seq"]:
        """float32 scores before the mask; `key` is for what a kind of attention drops out."""
        scores = jnp.einsum("bqnd,bknd->bnqk", query, keys, preferred_element_type=jnp.float32)
        return scores * query.shape[-1] ** -0.5

    def __call__(
        self, x: Float[Array, "batch seq hidden"], inputs: AttentionInputs, key: Array | None
    ) -> tuple[Float[Array, "batch seq hidden"], Float[Array, "batch heads seq seq"] | None]:
        """The attended values and, before dropout, the float32 weights where they are wanted."""
        query, keys, value = self.project(x, key)
        if inputs.rotation is not None:
            query, keys = rotate(query, inputs.rotation), rotate(keys, inputs.rotation)
        if inputs.kernel != "xla":
            attended = self._by_kernel(inputs, query, keys, value, key)
            return self.output(attended.reshape(x.shape), key), None
        keys, value = self._for_every_head(keys, value)
        compute = inputs.execution.rematerialised_attention(partial(self._attend, inputs))
        attended, weights = compute(query, keys, value, key)
        return self.output(attended.reshape(x.shape), key), weights

    def _for_every_head(self, keys: Array, value: Array) -> tuple[Array, Array]:
        if self.heads_per_key == 1:
            return keys, value
        keys, value = (jnp.repeat(x, self.heads_per_key, axis=2) for x in (keys, value))
        return keys, value

    def _by_kernel(
        self,
        inputs: AttentionInputs,
        query: Float[Array, "batch seq heads head_dim"],
        keys: Float[Array, "batch seq shared head_dim"],
        value: Float[Array, "batch seq shared head_dim"],
        key: Array | None,
    ) -> Float[Array, "batch seq heads head_dim"]:
        if inputs.kernel == "cudnn":
            return cudnn_attention(query, keys, value, inputs.mask)
        assert inputs.examples is not None
        ids = inputs.examples.attended_ids
        # What they import from JAX is experimental, and a tenth of the time of importing a model.
        if inputs.kernel == "splash":
            from jaxbert.nn.splash import splash_attention

            return splash_attention(query, keys, value, *ids, inputs.reach)
        from jaxbert.nn.fused import fused_attention

        keys, value = self._for_every_head(keys, value)
        return fused_attention(query, keys, value, *ids, self.dropout_rate, key)

    def _attend(
        self,
        inputs: AttentionInputs,
        query: Float[Array, "batch seq heads head_dim"],
        keys: Float[Array, "batch seq heads head_dim"],
        value: Float[Array, "batch seq heads head_dim"],
        key: Array | None,
    ) -> tuple[
        Float[Array, "batch seq heads head_dim"], Float[Array, "batch heads seq seq"] | None
    ]:
        """By XLA: the attended values, and the weights where they are wanted."""
        weights_key, scores_key = split_key(key, 2)
        left = _kept_weights(query, self.dropout_rate, weights_key)
        scale = 1.0 if left is None else scale_of(self.dropout_rate)
        bias = inputs.bias
        if not inputs.wants_weights and inputs.relative is None:
            if bias is not None:
                query, keys, value, bias = varying_alike(query, keys, value, bias)
            compute = attend_by_head if pays(query) else attend
            return compute(scale, query, keys, value, bias, inputs.mask, left), None
        scores = self.scores(query, keys, inputs, scores_key)
        if bias is not None:
            scores += bias[None]
        weights = attention_weights(scores, inputs.mask)
        acting = weights if left is None else jnp.where(left, weights * scale, 0.0)
        attended = jnp.einsum("bnqk,bknd->bqnd", acting.astype(value.dtype), value)
        return as_attended(attended), weights


def _kept_weights(
    query: Float[Array, "batch seq heads head_dim"], rate: float, key: Array | None
) -> Bool[Array, "batch heads seq seq"] | None:
    batch, length, heads, _ = query.shape
    left = kept(jnp.zeros((batch, heads, length, length)), rate, key)
    # Drawn by key, then query, which is how XLA:TPU lays the weights: sums over keys are cheap so.
    return left if left is None or current_platform() == "cpu" else left.swapaxes(2, 3)
