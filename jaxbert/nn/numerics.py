"""The numeric rules, said once: what runs in float32 whatever the compute dtype."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxbert.typing import Array

SQRT_HALF = 0.7071067811865476

# Finite, so that a row that is all padding gives a uniform softmax instead of NaN.
MASKED_SCORE = -1e30


def gelu(x: Array) -> Array:
    """Exact GELU (Hendrycks and Gimpel 2016), 0.5 x (1 + erf(x / sqrt 2)), in the dtype of `x`.

    Equal to `jax.nn.gelu(approximate=False)`, which goes through erfc: on TPU v5e that costs
    twice the instructions.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * SQRT_HALF))


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
}


def attention_weights(
    scores: Float[Array, "batch heads query key"], mask: Bool[Array, "batch 1 #query key"]
) -> Float[Array, "batch heads query key"]:
    """Softmax over keys in float32; mask True = keep."""
    scores = jnp.where(mask, scores.astype(jnp.float32), MASKED_SCORE)
    return jax.nn.softmax(scores, axis=-1)


def layer_norm(size: int, epsilon: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """Layer norm computed in float32 (two-pass variance); the caller casts what comes out."""
    return nnx.LayerNorm(
        size,
        epsilon=epsilon,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        # E[x^2] - E[x]^2 cancels when the mean is large against the spread.
        use_fast_variance=False,
        rngs=rngs,
    )


def linear(
    in_features: int, out_features: int, *, stddev: float, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Linear:
    """Dense layer with float32 parameters: kernel truncated-normal(`stddev`), bias zero."""
    return nnx.Linear(
        in_features,
        out_features,
        kernel_init=nnx.initializers.truncated_normal(stddev),
        dtype=dtype,
        param_dtype=jnp.float32,
        rngs=rngs,
    )
