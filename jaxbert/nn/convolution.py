"""DeBERTa-v2's convolution beside the first layer, which brings in the order of neighbours."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.examples import Examples
from jaxbert.nn.norm import norm
from jaxbert.nn.numerics import ACTIVATIONS
from jaxbert.nn.parts import Convolution
from jaxbert.typing import Array


class EmbeddingConvolution(nnx.Module):
    """Norm of the first layer's output plus a convolution of that layer's input."""

    def __init__(
        self,
        config: EncoderConfig,
        convolution: Convolution,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        size, width = config.hidden_size, convolution.conv_kernel_size
        initial = nnx.initializers.truncated_normal(config.initializer_range)
        self.kernel = nnx.Param(initial(rngs.params(), (width, size, size), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(size, jnp.float32))
        self.norm = norm(config, rngs)
        self.activation, self.width = convolution.conv_act, width
        self.dropout_rate, self.dtype = config.hidden_dropout_prob, dtype

    def __call__(
        self,
        embedded: Float[Array, "batch seq hidden"],
        x: Float[Array, "batch seq hidden"],
        examples: Examples,
        key: Array | None,
    ) -> Float[Array, "batch seq hidden"]:
        """What replaces `x`, the first layer's output; zero at padding."""
        mask = examples.is_real[..., None]
        convolved = jnp.where(mask, self._convolved(embedded, examples), 0.0).astype(self.dtype)
        convolved = ACTIVATIONS[self.activation](dropout(convolved, self.dropout_rate, key))
        return jnp.where(mask, self.norm(x + convolved), 0.0).astype(x.dtype)

    def _convolved(
        self, x: Float[Array, "batch seq hidden"], examples: Examples
    ) -> Float[Array, "batch seq hidden"]:
        """float32 sum of one product for every place of the kernel, which shard as any other."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        total = self.bias[...][None, None]
        for place in range(self.width):
            theirs = examples.neighbours(x, place - self.width // 2)
            total += jnp.matmul(theirs, kernel[place], preferred_element_type=jnp.float32)
        return total
