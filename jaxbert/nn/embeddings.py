"""Token, position and token-type embeddings (Devlin et al. 2018, section 3)."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.examples import Examples
from jaxbert.nn.linear import Linear
from jaxbert.nn.norm import norm
from jaxbert.typing import Array

_MASKED_IN_TRAINING = 0.15 * 0.8
"""The share of masks that ESM's models were all pretrained with, which `token_dropout` assumes."""


def embedding(rows: int, columns: int, config: EncoderConfig, rngs: nnx.Rngs) -> nnx.Embed:
    """Table of float32 [rows, columns], truncated-normal(initializer_range)."""
    return nnx.Embed(
        rows,
        columns,
        embedding_init=nnx.initializers.truncated_normal(config.initializer_range),
        param_dtype=jnp.float32,
        rngs=rngs,
    )


class Embeddings(nnx.Module):
    """Sum of the embeddings that the family has, norm, dropout, and where asked a projection."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        width = config.embedding_width
        self.word = embedding(config.padded_vocab_size, width, config, rngs)
        table = self.word.embedding[...]
        self.word.embedding[...] = table.at[config.vocab_size :].set(0.0)
        if config.position_embedding_type != "none":
            self.position = embedding(config.max_position_embeddings, width, config, rngs)
        if config.type_vocab_size:
            self.token_type = embedding(config.type_vocab_size, width, config, rngs)
        if config.task_type_vocab_size:
            self.task_type = embedding(config.task_type_vocab_size, width, config, rngs)
        if config.embedding_norm:
            self.norm = norm(config, rngs, width)
        if config.projects_embeddings:
            stddev = config.initializer_range
            self.projection = Linear(
                width, config.hidden_size, stddev=stddev, dtype=dtype, rngs=rngs
            )
        rate = config.embedding_dropout_prob
        self.dropout_rate = config.hidden_dropout_prob if rate is None else rate
        self.config, self.dtype = config, dtype

    def __call__(
        self,
        input_ids: Int[Array, "batch seq"],
        examples: Examples,
        token_type_ids: Int[Array, "batch seq"],
        key: Array | None,
        words: Float[Array, "batch seq width"] | None = None,
    ) -> Float[Array, "batch seq hidden"]:
        """Embeds tokens, as `words` where given; the sum and the norm run in float32.

        Raises UserError for rows of more tokens than there are positions, packed or not.
        """
        config = self.config
        _check_length(input_ids.shape[1], config)
        x = self.word.embedding[...][input_ids] if words is None else words.astype(jnp.float32)
        if config.token_dropout and words is None:
            x *= token_scale(input_ids, examples, config)[..., None]
        if config.position_embedding_type == "absolute":
            x += examples.by_position(self.position.embedding[...])
        elif config.position_embedding_type == "after_padding":
            x += self.position.embedding[...][positions_after_padding(input_ids, examples, config)]
        if config.type_vocab_size:
            x += _of_type(self.token_type.embedding[...], token_type_ids)
        if config.task_type_vocab_size:
            x += self.task_type.embedding[...][:1, None]
        if config.embedding_norm:
            x = self.norm(x)
        if config.mask_embeddings:
            x = jnp.where(examples.is_real[..., None], x, 0.0)
        x = dropout(x.astype(self.dtype), self.dropout_rate, key)
        return self.projection(x) if config.projects_embeddings else x


def _of_type(
    table: Float[Array, "types hidden"], token_type_ids: Int[Array, "batch seq"]
) -> Float[Array, "batch seq hidden"]:
    """Rows of the table. Of one or two a choice, whose gradient is a sum and no scatter."""
    if len(table) > 2:
        return table[token_type_ids]
    return jnp.where((token_type_ids > 0)[..., None], table[-1:, None], table[:1, None])


def token_scale(
    input_ids: Int[Array, "batch seq"], examples: Examples, config: EncoderConfig
) -> Float[Array, "batch seq"]:
    """What `token_dropout` multiplies embeddings by: 0 of a mask, else alike within an example.

    As transformers' ESM, which counts in rows; those are one example each there.
    """
    is_mask = (input_ids == config.mask_token_id) & examples.is_real
    masks, real = (examples.totals(x.astype(jnp.int32)) for x in (is_mask, examples.is_real))
    left = jnp.maximum(real - masks, 1)
    return jnp.where(is_mask, 0.0, (1.0 - _MASKED_IN_TRAINING) * real / left)


def positions_after_padding(
    input_ids: Int[Array, "batch seq"], examples: Examples, config: EncoderConfig
) -> Int[Array, "batch seq"]:
    """RoBERTa's positions: tokens count from `pad_token_id` + 1, padding has `pad_token_id`."""
    if examples.positions is not None:
        return examples.positions
    is_token = (input_ids != config.pad_token_id).astype(jnp.int32)
    return examples.counted(is_token) * is_token + config.pad_token_id


def longest_input(config: EncoderConfig) -> int:
    """Tokens that a row may have: RoBERTa's first positions belong to padding."""
    is_offset = config.position_embedding_type == "after_padding"
    return config.max_position_embeddings - (config.pad_token_id + 1 if is_offset else 0)


def _check_length(length: int, config: EncoderConfig) -> None:
    longest = longest_input(config)
    if length > longest:
        raise UserError(
            f"input_ids has {length} tokens per row and the model at most {longest} "
            f"(max_position_embeddings={config.max_position_embeddings}): cut or split the text"
        )
