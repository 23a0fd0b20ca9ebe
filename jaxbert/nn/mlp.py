"""The position-wise feed-forward network."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropout
from jaxbert.nn.linear import Linear
from jaxbert.nn.numerics import ACTIVATIONS
from jaxbert.typing import Array


class FeedForward(nnx.Module):
    """hidden -> mlp -> hidden with an activation between; gated: act(up(x)) * gate(x)."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        hidden, mlp, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        first, last = config.initializer_range, config.output_initializer_range
        self.up = Linear(hidden, mlp, stddev=first, dtype=dtype, rngs=rngs, use_bias=bias)
        if config.gated_mlp:
            self.gate = Linear(hidden, mlp, stddev=first, dtype=dtype, rngs=rngs, use_bias=bias)
        bias = bias if config.mlp_output_bias is None else config.mlp_output_bias
        self.down = Linear(mlp, hidden, stddev=last, dtype=dtype, rngs=rngs, use_bias=bias)
        self.activation, self.is_gated = config.hidden_act, config.gated_mlp
        self.dropout_rate = config.mlp_dropout_prob

    def __call__(
        self, x: Float[Array, "batch seq hidden"], key: Array | None
    ) -> Float[Array, "batch seq hidden"]:
        """Applies the network at every position."""
        y = ACTIVATIONS[self.activation](self.up(x, key))
        if self.is_gated:
            y = y * self.gate(x, key)
        return self.down(dropout(y, self.dropout_rate, key), key)
