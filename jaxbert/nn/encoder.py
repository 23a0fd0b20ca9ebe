"""Embeddings and a stack of layers."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import split_key
from jaxbert.nn.embeddings import Embeddings
from jaxbert.nn.layer import EncoderLayer
from jaxbert.typing import Array


class Encoder(nnx.Module):
    """BERT's encoder. Layers are stored one by one, because depth is what users address."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.embeddings = Embeddings(config, dtype=dtype, rngs=rngs)
        self.layers = nnx.List(
            EncoderLayer(config, dtype=dtype, rngs=rngs) for _ in range(config.num_hidden_layers)
        )

    def __call__(
        self,
        input_ids: Int[Array, "batch seq"],
        attention_mask: Bool[Array, "batch seq"],
        token_type_ids: Int[Array, "batch seq"],
        key: Array | None,
    ) -> tuple[
        tuple[Float[Array, "batch seq hidden"], ...],
        tuple[Float[Array, "batch heads seq seq"], ...],
    ]:
        """Hidden states (embeddings, then every layer) and attention weights of every layer.

        What the caller does not use costs nothing under `jax.jit`.
        """
        embedding_key, *layer_keys = split_key(key, len(self.layers) + 1)
        hidden_states = [self.embeddings(input_ids, token_type_ids, embedding_key)]
        attentions = []
        mask = attention_mask[:, None, None, :]
        for layer, layer_key in zip(self.layers, layer_keys, strict=True):
            x, weights = layer(hidden_states[-1], mask, layer_key)
            hidden_states.append(x)
            attentions.append(weights)
        return tuple(hidden_states), tuple(attentions)
