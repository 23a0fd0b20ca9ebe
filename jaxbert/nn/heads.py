"""What turns hidden states into a head's outputs: projection, vocabulary logits, classifier."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.examples import Examples
from jaxbert.nn.head import DenseLayer, Splade
from jaxbert.nn.linear import Linear, product_with_table, rows_of
from jaxbert.nn.norm import norm
from jaxbert.nn.numerics import ACTIVATIONS
from jaxbert.nn.parts import HeadStyle
from jaxbert.nn.placement import current_platform
from jaxbert.nn.splade import vocabulary_weights
from jaxbert.typing import Array


class Projection(nnx.Module):
    """Dropout and, where the style has them, a dense layer, its activation and a norm."""

    def __init__(
        self,
        config: EncoderConfig,
        style: HeadStyle,
        in_features: int,
        out_features: int,
        dropout_rate: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        is_encoders = style.activation == "hidden_act"
        self.activation = config.hidden_act if is_encoders else style.activation
        if self.activation is not None:
            self.dense = Linear(
                in_features,
                out_features,
                stddev=config.output_initializer_range,
                dtype=dtype,
                rngs=rngs,
                use_bias=style.bias,
                truncated=_is_truncated(config),
            )
        if style.norm:
            self.norm = norm(config, rngs, out_features)
        self.has_norm, self.dropout_rate, self.dtype = style.norm, dropout_rate, dtype

    def __call__(
        self, x: Float[Array, "*shape in_features"], key: Array | None
    ) -> Float[Array, "*shape out_features"]:
        """The projection in the compute dtype."""
        x = dropout(x, self.dropout_rate, key)
        if self.activation is not None:
            x = ACTIVATIONS[self.activation](self.dense(x))
        return self.norm(x).astype(self.dtype) if self.has_norm else x


class VectorProjection(nnx.Module):
    """What makes other vectors of an encoder's: a dense layer and its activation."""

    def __init__(
        self,
        config: EncoderConfig,
        layer: DenseLayer,
        in_features: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.dense = Linear(
            in_features,
            layer.dimensions,
            stddev=config.output_initializer_range,
            dtype=dtype,
            rngs=rngs,
            use_bias=layer.bias,
            truncated=_is_truncated(config),
        )
        self.is_tanh = layer.activation == "tanh"

    def __call__(self, x: Float[Array, "*shape in_features"]) -> Float[Array, "*shape dimensions"]:
        """float32, for whoever makes its length 1."""
        vectors = self.dense.total(x)
        return jnp.tanh(vectors) if self.is_tanh else vectors


class MaskedLM(Projection):
    """A projection, then logits over the vocabulary: the transposed word embedding plus a bias."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        styles, width = config.heads, config.embedding_width
        super().__init__(
            config, styles.masked_lm, config.hidden_size, width, 0.0, dtype=dtype, rngs=rngs
        )
        rows = config.padded_vocab_size
        if not config.tie_word_embeddings:
            is_truncated = _is_truncated(config)
            normal = nnx.initializers.truncated_normal if is_truncated else nnx.initializers.normal
            initial = normal(config.output_initializer_range)
            table = initial(rngs.params(), (rows, width), jnp.float32)
            self.decoder = nnx.Param(table.at[config.vocab_size :].set(0.0))
        if styles.masked_lm_bias:
            self.bias = nnx.Param(jnp.zeros(rows, jnp.float32))
        self.has_bias, self.is_tied = styles.masked_lm_bias, config.tie_word_embeddings
        self.vocab_size = config.vocab_size

    def logits(
        self,
        x: Float[Array, "batch positions hidden"],
        embedding: Float[Array, "padded_vocab width"],
    ) -> Float[Array, "batch positions vocab"]:
        """Float32 logits over the real vocabulary; `embedding` is the word embedding."""
        table = embedding if self.is_tied else self.decoder[...]
        logits = product_with_table(rows_of(self(x, None)), table.astype(self.dtype))
        if self.has_bias:
            logits += _for_every_row(self.bias[...], logits)
        return logits[..., : self.vocab_size].reshape(*x.shape[:-1], -1)

    def weights(
        self,
        x: Float[Array, "batch seq hidden"],
        embedding: Float[Array, "padded_vocab width"],
        examples: Examples,
        how: Splade,
    ) -> Float[Array, "batch *examples vocab"]:
        """Float32 weights of the real vocabulary for every example, see `vocabulary_weights`."""
        table = embedding if self.is_tied else self.decoder[...]
        bias = self.bias[...] if self.has_bias else jnp.zeros(len(table), jnp.float32)
        weights = vocabulary_weights(self(x, None), table, bias, examples, how)
        return weights[..., : self.vocab_size]


def _for_every_row(bias: Float[Array, " vocab"], logits: Float[Array, "*rows vocab"]) -> Array:
    if current_platform() != "cpu":
        return bias.reshape((1,) * (logits.ndim - 1) + (-1,))
    # The slope's columns are then summed by a product: 5 ms of 608 rows, where XLA's sum takes 50.
    return jnp.ones((*logits.shape[:-1], 1), logits.dtype) @ bias[None].astype(logits.dtype)


class Classifier(nnx.Module):
    """Dropout and one dense layer: float32 logits, of a pooled vector or of every token."""

    def __init__(
        self,
        config: EncoderConfig,
        in_features: int,
        num_outputs: int,
        dropout_rate: float,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        stddev = config.classifier_initializer_range
        self.dense = Linear(
            in_features,
            num_outputs,
            stddev=stddev,
            dtype=dtype,
            rngs=rngs,
            truncated=_is_truncated(config),
        )
        self.dropout_rate = dropout_rate

    def __call__(
        self, x: Float[Array, "*shape features"], key: Array | None
    ) -> Float[Array, "*shape classes"]:
        """Scores every class; never rounded to the compute dtype, which has few values near 1."""
        return self.dense.total(dropout(x, self.dropout_rate, key))


def _is_truncated(config: EncoderConfig) -> bool:
    """Whether what a head draws is cut at two deviations.

    Only ModernBERT's heads are, as in transformers, which fine-tuning is compared with. Google's
    BERT cuts its own, which leaves 0.88 of the deviation.
    """
    return config.depth_scaled_initializer
