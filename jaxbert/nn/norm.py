"""Normalisation over the hidden dimension, computed in float32; the caller casts what comes out."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.placement import varying_alike
from jaxbert.typing import Array


class LayerNorm(nnx.LayerNorm):
    """Layer normalisation (Ba et al. 2016), without E[x^2] - E[x]^2.

    That cancels when the mean is large against the spread.
    """

    def __call__(  # type: ignore[override]  # nobody masks features
        self, x: Float[Array, "*shape size"]
    ) -> Float[Array, "*shape size"]:
        """float32, whatever the dtype of `x`."""
        assert self.scale is not None
        if self.bias is None:
            return _normed(self.epsilon, *varying_alike(x, self.scale[...]), None)
        return _normed(self.epsilon, *varying_alike(x, self.scale[...], self.bias[...]))


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
    return LayerNorm(
        size,
        epsilon=config.layer_norm_eps,
        use_bias=config.norm_bias,
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        rngs=rngs,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normed(epsilon: float, x: Array, scale: Array, bias: Array | None) -> Array:
    return _forward(epsilon, x, scale, bias)[0]


def _forward(
    epsilon: float, x: Array, scale: Array, bias: Array | None
) -> tuple[Array, tuple[Array | None, ...]]:
    wide = x.astype(jnp.float32)
    mean = wide.mean(axis=-1, keepdims=True)
    centred = wide - mean
    by = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    y = centred * by * _last(scale, x)
    return y if bias is None else y + _last(bias, x), (x, mean, by, scale, bias)


def _backward(
    epsilon: float, saved: tuple[Array, Array, Array, Array, Array | None], slope: Array
) -> tuple[Array, Array, Array | None]:
    # By hand: JAX also differentiates the mean within the spread, which is a sum of zeros.
    x, mean, by, scale, bias = saved
    normed = (x.astype(jnp.float32) - mean) * by
    scaled = slope * _last(scale, x)
    along = (scaled * normed).mean(axis=-1, keepdims=True)
    of_x = by * (scaled - scaled.mean(axis=-1, keepdims=True) - normed * along)
    rows = tuple(range(x.ndim - 1))
    of_bias = None if bias is None else slope.sum(axis=rows).astype(bias.dtype)
    return of_x.astype(x.dtype), (slope * normed).sum(axis=rows).astype(scale.dtype), of_bias


_normed.defvjp(_forward, _backward)


def _last(parameter: Array, x: Array) -> Array:
    return parameter.reshape((1,) * (x.ndim - 1) + (-1,))
