"""The numeric rules, said once: what runs in float32 whatever the compute dtype."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxbert.typing import Array

SQRT_HALF = 0.7071067811865476
NORMAL_DENSITY_AT_0 = 0.3989422804014327
# Odd polynomial of atanh(erf(x / sqrt 2)), minimax on [0, 6] for the error of x Phi(-x) in units
# of its own rounding to bfloat16 (of 5e-7 where that is smaller).
_NORMAL_CDF = (0.79652131, 0.037728466, -0.00046334558, 3.2746634e-06)

# Finite, so that a row that is all padding gives a uniform softmax instead of NaN.
MASKED_SCORE = -1e30

_SHORTEST = 1e-12
"""As `torch.nn.functional.normalize`: what is shorter is divided by this."""


def unit(x: Float[Array, "*shape features"]) -> Float[Array, "*shape features"]:
    """Of length 1, float32; zero stays zero, with a gradient that is a number."""
    x = x.astype(jnp.float32)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST**2))


@jax.custom_jvp
def gelu(x: Array) -> Array:
    """Exact GELU (Hendrycks and Gimpel 2016), x Phi(x), in the dtype of `x`.

    Computed in float32, for float32 as 0.5 x (1 + erf(x / sqrt 2)): within 5 ulp of x / 2. What is
    rounded to 16 bits afterwards comes from a shorter function, which before that is within a
    quarter of an ulp of bfloat16; below -4, where the sum above cancels too, within 5e-7.
    """
    wide = x.astype(jnp.float32)
    return (wide * _normal_cdf(wide, x.dtype)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Phi(x) + x phi(x): one exponential, where differentiating Phi's polynomials costs more."""
    (x,), (tangent,) = primals, tangents
    wide = x.astype(jnp.float32)
    density = NORMAL_DENSITY_AT_0 * jnp.exp(-0.5 * wide * wide)
    slope = _normal_cdf(wide, x.dtype) + wide * density
    return gelu(x), (tangent.astype(jnp.float32) * slope).astype(tangent.dtype)


def _normal_cdf(x: Array, dtype: DTypeLike) -> Array:
    """Of float32 x, accurate enough for what is then rounded to `dtype`."""
    if jnp.finfo(dtype).bits > 16:
        return 0.5 + 0.5 * jax.lax.erf(x * SQRT_HALF)
    square = x * x
    first, *others = reversed(_NORMAL_CDF)
    total = jnp.full_like(x, first)
    for coefficient in others:
        total = total * square + coefficient
    # A TPU has an instruction for tanh; of erf it computes two polynomials and their quotient.
    return 0.5 + 0.5 * jnp.tanh(x * total)


def _gated(
    gate: Callable[[Array], Array], steepness: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """x gate(x) in the dtype of x, computed in float32 and rounded once.

    `gate` is the logistic function of something that has the derivative `steepness`. Step by step
    in bfloat16 it would lose what is left of it at negative x, where it is near 0.
    """

    @jax.custom_jvp
    def activation(x: Array) -> Array:
        wide = x.astype(jnp.float32)
        return (wide * gate(wide)).astype(x.dtype)

    @activation.defjvp
    def _jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,), (tangent,) = primals, tangents
        # So that the backward pass computes the gate again: from the forward pass it would be
        # kept in float32, with the slope, at several times the bytes of a bfloat16 x.
        read = jax.lax.optimization_barrier(x) if x.dtype.itemsize < 4 else x
        wide = read.astype(jnp.float32)
        open_ = gate(wide)
        slope = open_ + wide * steepness(wide) * open_ * (1.0 - open_)
        return activation(x), (tangent.astype(jnp.float32) * slope).astype(tangent.dtype)

    return activation


_TANH_GELU, _CUBED = 0.7978845608028654, 0.044715


def _gelu_new_gate(x: Array) -> Array:
    # As a tanh, for which a TPU has an instruction.
    return 0.5 + 0.5 * jnp.tanh(_TANH_GELU * (x + _CUBED * x * x * x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    # Hendrycks and Gimpel 2016, section 2: the approximation by tanh.
    "gelu_new": _gated(_gelu_new_gate, lambda x: 2 * _TANH_GELU * (1 + 3 * _CUBED * x * x)),
    "relu": jax.nn.relu,
    "silu": _gated(jax.nn.sigmoid, jnp.ones_like),
    "tanh": jnp.tanh,
}


def attention_weights(
    scores: Float[Array, "batch heads query key"], mask: Bool[Array, "batch 1 #query key"]
) -> Float[Array, "batch heads query key"]:
    """Softmax over keys in float32; mask True = keep."""
    scores = jnp.where(mask, scores.astype(jnp.float32), MASKED_SCORE)
    largest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - largest)
    # One quotient a row: XLA does not always see that a product with it will do.
    return weights * (1.0 / weights.sum(axis=-1, keepdims=True))
