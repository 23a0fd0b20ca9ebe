"""Token, position and token-type embeddings (Devlin et al. 2018, section 3)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.numerics import layer_norm
from jaxbert.typing import Array


def embedding(rows: int, config: EncoderConfig, rngs: nnx.Rngs) -> nnx.Embed:
    """Table of float32 [rows, hidden], truncated-normal(initializer_range)."""
    return nnx.Embed(
        rows,
        config.hidden_size,
        embedding_init=nnx.initializers.truncated_normal(config.initializer_range),
        param_dtype=jnp.float32,
        rngs=rngs,
    )


class Embeddings(nnx.Module):
    """Sum of the three embeddings, layer norm, dropout."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.word = embedding(config.padded_vocab_size, config, rngs)
        table = self.word.embedding[...]
        self.word.embedding[...] = table.at[config.vocab_size :].set(0.0)
        self.position = embedding(config.max_position_embeddings, config, rngs)
        self.token_type = embedding(config.type_vocab_size, config, rngs)
        self.norm = layer_norm(config.hidden_size, config.layer_norm_eps, rngs)
        self.dropout_rate = config.hidden_dropout_prob
        self.dtype = dtype

    def __call__(
        self,
        input_ids: Int[Array, "batch seq"],
        token_type_ids: Int[Array, "batch seq"],
        key: Array | None,
    ) -> Float[Array, "batch seq hidden"]:
        """Embeds tokens at positions 0, 1, ...; the sum and the norm run in float32.

        Raises UserError for more tokens than there are positions.
        """
        length, longest = input_ids.shape[1], self.position.num_embeddings
        if length > longest:
            raise UserError(
                f"input_ids has {length} tokens per row and the model at most {longest} "
                "(max_position_embeddings): cut or split the text"
            )
        total = self.word.embedding[...][input_ids]
        total += self.position.embedding[...][None, :length]
        total += self.token_type.embedding[...][token_type_ids]
        return dropout(self.norm(total).astype(self.dtype), self.dropout_rate, key)
