"""The position-wise feed-forward network."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.numerics import ACTIVATIONS, linear
from jaxbert.typing import Array


class FeedForward(nnx.Module):
    """hidden -> mlp -> hidden with one activation between."""

    def __init__(self, config: EncoderConfig, *, dtype: DTypeLike, rngs: nnx.Rngs):
        stddev = config.initializer_range
        hidden, mlp = config.hidden_size, config.intermediate_size
        self.up = linear(hidden, mlp, stddev=stddev, dtype=dtype, rngs=rngs)
        self.down = linear(mlp, hidden, stddev=stddev, dtype=dtype, rngs=rngs)
        self.activation = config.hidden_act

    def __call__(self, x: Float[Array, "batch seq hidden"]) -> Float[Array, "batch seq hidden"]:
        """Applies the network at every position."""
        return self.down(ACTIVATIONS[self.activation](self.up(x)))
