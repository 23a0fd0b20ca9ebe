"""Normalisation over the hidden dimension, computed in float32; the caller casts what comes out."""

import jax.numpy as jnp
from flax import nnx

from jaxbert.nn.config import EncoderConfig


def norm(config: EncoderConfig, rngs: nnx.Rngs, size: int | None = None) -> nnx.Module:
    """The family's norm over `size` features (None: `hidden_size`), with float32 parameters."""
    size = config.hidden_size if size is None else size
    if config.norm_kind == "rms_norm":
        return nnx.RMSNorm(
            size,
            epsilon=config.layer_norm_eps,
            dtype=jnp.float32,
            param_dtype=jnp.float32,
            rngs=rngs,
        )
    return nnx.LayerNorm(
        size,
        epsilon=config.layer_norm_eps,
        use_bias=config.norm_bias,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        # E[x^2] - E[x]^2 cancels when the mean is large against the spread.
        use_fast_variance=False,
        rngs=rngs,
    )
