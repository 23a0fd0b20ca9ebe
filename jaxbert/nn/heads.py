"""The heads of Devlin et al. 2018: pooler, masked language model, next sentence, classifier."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.numerics import ACTIVATIONS, layer_norm, linear
from jaxbert.typing import Array


class Pooler(nnx.Module):
    """tanh of a dense layer over the first token."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        size, stddev = config.hidden_size, config.initializer_range
        self.dense = linear(size, size, stddev=stddev, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch seq hidden"]) -> Float[Array, "batch hidden"]:
        """Pools the [CLS] position."""
        return jnp.tanh(self.dense(x[:, 0]))


class MaskedLM(nnx.Module):
    """Dense, activation, norm, then the transposed word embedding plus a bias per piece."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        size, stddev = config.hidden_size, config.initializer_range
        self.dense = linear(size, size, stddev=stddev, dtype=dtype, rngs=rngs)
        self.norm = layer_norm(size, config.layer_norm_eps, rngs)
        self.bias = nnx.Param(jnp.zeros(config.padded_vocab_size, jnp.float32))
        self.activation = config.hidden_act
        self.vocab_size = config.vocab_size
        self.dtype = dtype

    def __call__(
        self,
        x: Float[Array, "batch positions hidden"],
        table: Float[Array, "padded_vocab hidden"],
    ) -> Float[Array, "batch positions vocab"]:
        """Float32 logits over the real vocabulary; `table` is the word embedding (tied)."""
        x = ACTIVATIONS[self.activation](self.dense(x))
        x = self.norm(x).astype(self.dtype)
        logits = jnp.einsum(
            "bph,vh->bpv", x, table.astype(self.dtype), preferred_element_type=jnp.float32
        )
        return (logits + self.bias[...][None, None])[..., : self.vocab_size]


class Classifier(nnx.Module):
    """Dropout and one dense layer: float32 logits from a pooled vector.

    Also BERT's next-sentence head, which is a classifier of two classes without dropout.
    """

    def __init__(
        self,
        config: EncoderConfig,
        num_labels: int,
        dropout_rate: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        stddev = config.initializer_range
        self.dense = linear(config.hidden_size, num_labels, stddev=stddev, dtype=dtype, rngs=rngs)
        self.dropout_rate = dropout_rate

    def __call__(
        self, pooled: Float[Array, "batch hidden"], key: Array | None
    ) -> Float[Array, "batch classes"]:
        """Scores every class."""
        return self.dense(dropout(pooled, self.dropout_rate, key)).astype(jnp.float32)
