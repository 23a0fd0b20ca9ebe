"""What a head reads of an encoder, as an array that can be kept."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.examples import lay_out
from jaxbert.nn.head import POOLED, Head, Pooling
from jaxbert.nn.model import head_style
from jaxbert.nn.pooling import pool
from jaxbert.typing import Array, ArrayOrNumpy


def layers_read(head: Head) -> int:
    """How many of the last layers, the embeddings being one."""
    return 1 if head.mixture is None else head.mixture.num_layers


def vector_read(config: EncoderConfig, head: Head) -> Pooling | None:
    """The pooling whose vector of every layer says of an example all that the head reads.

    None where what is learnt comes before it: a score of every token, a dense layer, a mixture of
    layers of which the largest entry is taken; and for heads of tokens.
    """
    how: Pooling | Literal["late"] = head.pooling or head_style(config, head).pooling
    if head.kind not in POOLED or how == "attention" or how == "late":
        return None
    is_mixed = head.mixture is not None and head.mixture.how == "weighted"
    return None if how == "max" and is_mixed else how


def features_of(
    hidden_states: tuple[Float[Array, "batch seq hidden"], ...],
    attention_mask: ArrayOrNumpy,
    token_type_ids: ArrayOrNumpy,
    config: EncoderConfig,
    head: Head,
) -> Float[Array, "batch positions layers hidden"]:
    """Float32, for `Model.from_features`: of every token, or the one vector that is read."""
    chosen, how = hidden_states[-layers_read(head) :], vector_read(config, head)
    if how is not None:
        types = jnp.asarray(token_type_ids)
        examples, count = lay_out(types, attention_mask, None, None), config.type_vocab_size
        chosen = tuple(pool(layer, examples, types, how, count)[:, None] for layer in chosen)
    return jnp.stack(chosen, axis=2).astype(jnp.float32)
