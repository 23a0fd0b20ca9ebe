"""One encoder layer: attention and feed-forward network, each with a residual sum and a norm."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.attention import AttentionInputs, Projections, SelfAttention
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.disentangled import DisentangledAttention
from jaxbert.nn.dropout import dropout, split_key
from jaxbert.nn.mlp import FeedForward
from jaxbert.nn.norm import norm
from jaxbert.typing import Array


class EncoderLayer(nnx.Module):
    """Norm after the residual sum, x = norm(x + block(x)), or before the block, x + block(norm(x)).

    A layer before which nothing needs a norm (`first_norm`) leaves its attention's out.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        has_first_norm: bool = True,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        is_disentangled = config.relative_attention is not None
        attention = DisentangledAttention if is_disentangled else SelfAttention
        self.attention = attention(config, dtype=dtype, rngs=rngs)
        if has_first_norm:
            self.attention_norm = norm(config, rngs)
        self.mlp = FeedForward(config, dtype=dtype, rngs=rngs)
        self.mlp_norm = norm(config, rngs)
        self.is_pre_norm = config.norm_placement == "pre"
        self.has_first_norm = has_first_norm
        hidden = config.hidden_dropout_prob
        rate, mlp_rate = config.attention_output_dropout_prob, config.mlp_output_dropout_prob
        self.attention_dropout_rate = hidden if rate is None else rate
        self.mlp_dropout_rate = hidden if mlp_rate is None else mlp_rate

    def __call__(
        self, x: Float[Array, "batch seq hidden"], inputs: AttentionInputs, key: Array | None
    ) -> tuple[Float[Array, "batch seq hidden"], Float[Array, "batch heads seq seq"] | None]:
        """The output in the dtype of `x`, and float32 attention weights where they are wanted."""
        weights_key, attention_key, inner_key, mlp_key = split_key(key, 4)
        attended, weights = self.attention(self._read(x), inputs, weights_key)
        total = x + dropout(attended, self.attention_dropout_rate, attention_key)
        if self.is_pre_norm:
            updated = self.mlp(self.mlp_norm(total).astype(x.dtype), inner_key)
            return total + dropout(updated, self.mlp_dropout_rate, mlp_key), weights
        x = self.attention_norm(total).astype(x.dtype)
        updated = dropout(self.mlp(x, inner_key), self.mlp_dropout_rate, mlp_key)
        return self.mlp_norm(x + updated).astype(x.dtype), weights

    def projections(self, x: Float[Array, "batch seq hidden"]) -> Projections:
        """Of a layer with the input `x`."""
        return self.attention.project(self._read(x), None)

    def _read(self, x: Float[Array, "batch seq hidden"]) -> Float[Array, "batch seq hidden"]:
        """What attention reads."""
        if self.is_pre_norm and self.has_first_norm:
            return self.attention_norm(x).astype(x.dtype)
        return x
