"""One encoder layer with the norm after each residual sum (BERT's placement)."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxbert.nn.attention import SelfAttention
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout, split_key
from jaxbert.nn.mlp import FeedForward
from jaxbert.nn.numerics import layer_norm
from jaxbert.typing import Array


class EncoderLayer(nnx.Module):
    """x = norm(x + dropout(attention(x))); x = norm(x + dropout(mlp(x)))."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.attention = SelfAttention(config, dtype=dtype, rngs=rngs)
        self.attention_norm = layer_norm(config.hidden_size, config.layer_norm_eps, rngs)
        self.mlp = FeedForward(config, dtype=dtype, rngs=rngs)
        self.mlp_norm = layer_norm(config.hidden_size, config.layer_norm_eps, rngs)
        self.dropout_rate = config.hidden_dropout_prob

    def __call__(
        self,
        x: Float[Array, "batch seq hidden"],
        mask: Bool[Array, "batch 1 #seq seq"],
        key: Array | None,
    ) -> tuple[Float[Array, "batch seq hidden"], Float[Array, "batch heads seq seq"]]:
        """The layer's output in the dtype of `x`, and its float32 attention weights."""
        weights_key, attention_key, mlp_key = split_key(key, 3)
        attended, weights = self.attention(x, mask, weights_key)
        attended = dropout(attended, self.dropout_rate, attention_key)
        x = self.attention_norm(x + attended).astype(x.dtype)
        x = self.mlp_norm(x + dropout(self.mlp(x), self.dropout_rate, mlp_key)).astype(x.dtype)
        return x, weights
