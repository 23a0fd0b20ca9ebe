"""The dense layer."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.execution import as_product
from jaxbert.nn.placement import current_platform
from jaxbert.typing import Array


def rows_of(x: Float[Array, "*shape features"]) -> Float[Array, "*rows features"]:
    """What a product with a kernel takes of `x`: on CPUs [rows, features], elsewhere `x` itself.

    Of several axes of rows XLA's CPU backend transposes what comes back into the gradient by the
    kernel, which then takes up to 2.7 times as long.
    """
    return x.reshape(-1, x.shape[-1]) if current_platform() == "cpu" else x


def product(
    rows: Float[Array, "*rows features"], kernel: Float[Array, "features outputs"]
) -> Float[Array, "*rows outputs"]:
    """rows @ kernel, summed and given in float32; `rows` as `rows_of` makes them.

    XLA's CPU backend sums over the rows of two operands, for the gradient by the kernel, at half of
    its speed. It pays to turn the narrower one first where that is the input, which is then kept so
    as well.
    """
    turns = current_platform() == "cpu" and kernel.shape[0] < kernel.shape[1]
    return _turning_product(rows, kernel) if turns else _sums(rows, kernel)


def _sums(rows: Array, kernel: Array) -> Array:
    return jnp.matmul(rows, kernel, preferred_element_type=jnp.float32)


_turning_product = jax.custom_jvp(_sums)


def _turning_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array | SymbolicZero, ...]
) -> tuple[Array, Array]:
    (rows, kernel), (of_rows, of_kernel) = primals, tangents
    total = jnp.zeros((), jnp.float32)
    if not isinstance(of_rows, SymbolicZero):
        total += _sums(of_rows, kernel)
    if not isinstance(of_kernel, SymbolicZero):
        turned = jax.lax.optimization_barrier(rows.T)
        over_first = (((0,), (0,)), ((), ()))
        total += jax.lax.dot_general(
            turned, of_kernel, over_first, preferred_element_type=jnp.float32
        )
    return product(rows, kernel), total


_turning_product.defjvp(_turning_jvp, symbolic_zeros=True)


class Linear(nnx.Module):
    """x @ kernel + bias: products in `dtype`, their sum and the bias in float32, rounded once.

    Rounding before the bias is added would put the output further from float32 than PyTorch's
    bfloat16 is. Parameters are float32: kernel normal(`stddev`), cut at two deviations where it is
    `truncated` (which leaves 0.88 of the deviation), bias zero.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        stddev: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
        use_bias: bool = True,
        truncated: bool = True,
    ):
        normal = nnx.initializers.truncated_normal if truncated else nnx.initializers.normal
        initial = normal(stddev)
        self.kernel = nnx.Param(initial(rngs.params(), (in_features, out_features), jnp.float32))
        if use_bias:
            self.bias = nnx.Param(jnp.zeros(out_features, jnp.float32))
        self.use_bias, self.dtype = use_bias, dtype

    def __call__(
        self, x: Float[Array, "*shape in_features"]
    ) -> Float[Array, "*shape out_features"]:
        """The layer's output in its compute dtype."""
        return as_product(self.total(x).astype(self.dtype))

    def total(self, x: Float[Array, "*shape in_features"]) -> Float[Array, "*shape out_features"]:
        """The layer's output in float32, not rounded."""
        kernel = self.kernel[...].astype(self.dtype)
        total = product(rows_of(x.astype(self.dtype)), kernel)
        if self.use_bias:
            total += self.bias[...].reshape((1,) * (total.ndim - 1) + (-1,))
        return total.reshape(*x.shape[:-1], -1)
