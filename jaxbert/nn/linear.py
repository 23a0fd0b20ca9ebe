"""The dense layer."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import DTypeLike
from jaxtyping import Float

from jaxbert.nn.dropout import dropout
from jaxbert.nn.execution import as_product
from jaxbert.nn.placement import current_platform, is_undivided, varying_alike
from jaxbert.typing import Array


def rows_of(x: Float[Array, "*shape features"]) -> Float[Array, "*rows features"]:
    """What a product with a kernel takes of `x`: on CPUs [rows, features], elsewhere `x` itself.

    Of several axes of rows XLA's CPU backend transposes what comes back into the gradient by the
    kernel, which then takes up to 2.7 times as long.
    """
    return x.reshape(-1, x.shape[-1]) if current_platform() == "cpu" else x


def product(
    rows: Float[Array, "*rows features"],
    kernel: Float[Array, "features outputs"],
    *,
    is_rounded: bool = False,
) -> Float[Array, "*rows outputs"]:
    """rows @ kernel, summed and given in float32; `rows` as `rows_of` makes them.

    `is_rounded`: the caller rounds the sum to the dtype of both, so that its slope has that dtype
    too, and so have the operands of the products of the backward pass.

    XLA's CPU backend sums over the rows of two operands, for the gradient by the kernel, at half of
    its speed. It pays to turn the narrower one first where that is the input, which is then kept so
    as well.
    """
    if is_rounded and _are_narrow(rows, kernel):
        return _narrow_product(0, *varying_alike(rows, kernel))
    turns = current_platform() == "cpu" and kernel.shape[0] < kernel.shape[1]
    return _turning_product(rows, kernel) if turns else _sums(rows, kernel)


def product_with_table(
    rows: Float[Array, "*rows features"], table: Float[Array, "outputs features"]
) -> Float[Array, "*rows outputs"]:
    """rows @ table.T in float32, whose slope is rounded to the dtype of both.

    XLA:TPU rounds it so by itself, where its matrix unit reads it: 2 % fewer bytes in a step of
    BERT-base than with the slope rounded here.
    """
    if _are_narrow(rows, table) and current_platform() != "tpu":
        return _narrow_product(1, *varying_alike(rows, table))
    return _sum_over(rows, table, 1)


def _are_narrow(rows: Array, kernel: Array) -> bool:
    return rows.dtype == kernel.dtype and kernel.dtype.itemsize < 4


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


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow_product(axis: int, rows: Array, kernel: Array) -> Array:
    """`rows` times `kernel`, summed over `axis` of it; nothing of its slope is lost in their dtype.

    JAX would widen the other operand to the slope's float32: products of TF32 on a GPU, at half of
    the rate and with twice the bytes, and on a CPU none of its matrix unit. It knows no product of
    two narrow operands with a wide sum for the slope of another, which is why this is no
    `custom_jvp`.
    """
    return _sum_over(rows, kernel, axis)


def _narrow_forward(
    axis: int, rows: CustomVJPPrimal, kernel: CustomVJPPrimal
) -> tuple[Array, tuple[Array | None, Array | None]]:
    # What is kept is read for the gradient of the other; a frozen one's costs no product.
    kept = rows.value if kernel.perturbed else None, kernel.value if rows.perturbed else None
    return _sum_over(rows.value, kernel.value, axis), kept


def _narrow_backward(
    axis: int, kept: tuple[Array | None, Array | None], slope: Array | SymbolicZero
) -> tuple[Array | None, Array | None]:
    rows, kernel = kept
    if isinstance(slope, SymbolicZero):
        return None, None
    of_rows = of_kernel = None
    if kernel is not None:
        of_rows = _sum_over(slope.astype(kernel.dtype), kernel, 1 - axis).astype(kernel.dtype)
    if rows is not None:
        slope = slope.astype(rows.dtype)
        left, right = (rows, slope) if axis == 0 else (slope, rows)
        of_kernel = _sum_over_rows(left, right).astype(rows.dtype)
    return of_rows, of_kernel


def _sum_over(rows: Array, kernel: Array, axis: int) -> Array:
    """Of the last axis of `rows` and `axis` of `kernel`, in float32."""
    over = ((rows.ndim - 1,), (axis,)), ((), ())
    return jax.lax.dot_general(rows, kernel, over, preferred_element_type=jnp.float32)


def _sum_over_rows(left: Array, right: Array) -> Array:
    """left.T @ right in float32."""
    rows = tuple(range(left.ndim - 1))
    if current_platform() == "cpu" and left.ndim == 2 and is_undivided():
        # XLA's CPU backend has its fast products of 16 bits for what lies so in memory alone.
        return _sum_over(with_layout_constraint(left.T, Layout((0, 1))), right, 0)
    return jax.lax.dot_general(
        left, right, ((rows, rows), ((), ())), preferred_element_type=jnp.float32
    )


_narrow_product.defvjp(_narrow_forward, _narrow_backward, symbolic_zeros=True)


@dataclass(frozen=True)
class LowRank:
    """How a layer applies its factors `lora_a` and `lora_b`, where it has them (`nn/lora.py`)."""

    scale: float
    dropout: float
    stream: int
    """Tells its dropout from that of other layers which are called with the same key."""


class Linear(nnx.Module):
    """x @ kernel + bias: products in `dtype`, their sum and the bias in float32, rounded once.

    Rounding before the bias is added would put the output further from float32 than PyTorch's
    bfloat16 is. Parameters are float32: kernel normal(`stddev`), cut at two deviations where it is
    `truncated` (which leaves 0.88 of the deviation), bias zero. With `low_rank` there are two more,
    and to the output (dropout(x) @ lora_a) @ lora_b * scale is added before it is rounded.
    """

    lora_a: nnx.Param
    lora_b: nnx.Param

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
        self.low_rank: LowRank | None = None

    def __call__(
        self,
        x: Float[Array, "*shape in_features"],
        key: Array | None = None,
        *,
        rows: bool = True,
    ) -> Float[Array, "*shape out_features"]:
        """The layer's output in its compute dtype; `key` and `rows` are for dropout before factors.

        `rows` as in `dropout`.
        """
        total = self.total(x, key, rows=rows, is_rounded=True)
        return as_product(total.astype(self.dtype))

    def total(
        self,
        x: Float[Array, "*shape in_features"],
        key: Array | None = None,
        *,
        rows: bool = True,
        is_rounded: bool = False,
    ) -> Float[Array, "*shape out_features"]:
        """The layer's output in float32, not rounded; `is_rounded`: the caller will."""
        kernel, x = self.kernel[...].astype(self.dtype), x.astype(self.dtype)
        total = product(rows_of(x), kernel, is_rounded=is_rounded)
        if self.low_rank is not None:
            key = None if key is None else jax.random.fold_in(key, self.low_rank.stream)
            read = dropout(x, self.low_rank.dropout, key, rows=rows)
            down, up = (factor[...].astype(self.dtype) for factor in (self.lora_a, self.lora_b))
            narrow = product(rows_of(read), down, is_rounded=True) * self.low_rank.scale
            total += product(narrow.astype(self.dtype), up, is_rounded=is_rounded)
        if self.use_bias:
            total += self.bias[...].reshape((1,) * (total.ndim - 1) + (-1,))
        return total.reshape(*x.shape[:-1], -1)
