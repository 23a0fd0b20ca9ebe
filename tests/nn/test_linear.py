import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.typing import DTypeLike

from jaxbert.nn import linear
from jaxbert.nn.linear import Linear, product, product_with_table

ROWS, LENGTH, INPUTS, OUTPUTS = 4, 64, 128, 256


def gradient_by_the_kernel(layer: Linear, slope: jax.Array):
    graph, params = nnx.split(layer)
    return jax.jit(jax.grad(lambda params, x: jnp.sum(slope * nnx.merge(graph, params)(x)))), params


@pytest.mark.parametrize("outputs", [3, 7])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_the_kernels_gradient_sums_over_all_axes_of_rows(shape: tuple[int, ...], outputs: int):
    draws = np.random.default_rng(0)
    x, slope = draws.normal(size=(*shape, 5)), draws.normal(size=(*shape, outputs))
    layer = Linear(5, outputs, stddev=0.02, dtype=jnp.float32, rngs=nnx.Rngs(0))
    gradient, params = gradient_by_the_kernel(layer, jnp.asarray(slope, jnp.float32))
    found = gradient(params, jnp.asarray(x, jnp.float32))
    flat = slope.reshape(-1, outputs)
    np.testing.assert_allclose(
        found["kernel"][...], x.reshape(-1, 5).T @ flat, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(found["bias"][...], flat.sum(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("outputs", [3, 7])
def test_derivatives_in_both_directions_and_of_second_order(outputs: int):
    draws = np.random.default_rng(0)
    shapes = (4, 5), (5, outputs), (4, 5), (5, outputs)
    x, kernel, of_x, of_kernel = (
        jnp.asarray(draws.normal(size=shape), jnp.float32) for shape in shapes
    )
    _, pushed = jax.jvp(product, (x, kernel), (of_x, of_kernel))
    np.testing.assert_allclose(pushed, of_x @ kernel + x @ of_kernel, rtol=1e-5, atol=1e-5)

    def squared(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(product(x, kernel) ** 2)

    _, second = jax.jvp(jax.grad(squared, 1), (x, kernel), (of_x, of_kernel))
    expected = 2 * (of_x.T @ (x @ kernel) + x.T @ (of_x @ kernel + x @ of_kernel))
    np.testing.assert_allclose(second, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("outputs", [3, 7])
def test_what_is_frozen_costs_no_product(outputs: int):
    x, kernel = jnp.ones((4, 5)), jnp.ones((5, outputs))
    for argument in (0, 1):
        gradient = jax.grad(lambda x, kernel: jnp.sum(product(x, kernel) ** 2), argument)
        # One forward, one for the slope.
        assert str(jax.make_jaxpr(gradient)(x, kernel)).count("dot_general") == 2


def test_on_cpus_only_the_input_of_a_widening_product_is_transposed():
    wide = transposed(INPUTS, OUTPUTS)
    assert wide == [f"f32[{INPUTS},{ROWS * LENGTH}]"]
    assert transposed(OUTPUTS, INPUTS) == []


def transposed(inputs: int, outputs: int) -> list[str]:
    """Types of what a layer's gradients write anew in another order."""
    layer = Linear(inputs, outputs, stddev=0.02, dtype=jnp.float32, rngs=nnx.Rngs(0))
    gradient, params = gradient_by_the_kernel(layer, jnp.ones((ROWS, LENGTH, outputs)))
    program = gradient.lower(params, jnp.ones((ROWS, LENGTH, inputs))).compile().as_text()
    assert " dot(" in program
    return re.findall(r"= (\S+\])\S* transpose\(", program)


@pytest.fixture(params=["cpu", "gpu"])
def either_platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "current_platform", lambda: request.param)


def products_of(program: str) -> list[tuple[str, ...]]:
    """Types of both operands and of the result of every product."""
    found = re.findall(r"dot_general.*: \(tensor<(.*?)>, tensor<(.*?)>\) -> tensor<(.*?)>", program)
    return [tuple(shape.split("x")[-1] for shape in each) for each in found]


@pytest.mark.usefixtures("either_platform")
def test_all_three_products_of_a_rounded_layer_have_narrow_operands_and_wide_sums():
    layer = Linear(5, 7, stddev=0.02, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    graph, params = nnx.split(layer)
    x = jnp.ones((2, 3, 5), jnp.bfloat16)

    def rounded(params: nnx.State, x: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graph, params)(x).astype(jnp.float32) ** 2)

    def total(params: nnx.State, x: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graph, params).total(x) ** 2)

    def products(loss: Any) -> list[tuple[str, ...]]:
        return products_of(jax.jit(jax.grad(loss, (0, 1))).lower(params, x).as_text())

    assert products(rounded) == [("bf16", "bf16", "f32")] * 3
    # The slope of a sum that stays in float32 is no number of bfloat16.
    assert products(total) == [("bf16", "bf16", "f32")] + [("f32", "f32", "f32")] * 2


@pytest.mark.usefixtures("either_platform")
@pytest.mark.parametrize("shape", [(), (6,), (2, 3)])
def test_gradients_of_a_narrow_product_are_float64s_as_rounded(shape: tuple[int, ...]):
    draws = np.random.default_rng(0)
    shapes = (*shape, 5), (5, 7), (*shape, 7)
    x, kernel, slope = (jnp.asarray(draws.normal(size=s), jnp.bfloat16) for s in shapes)

    def rounded(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return product(x, kernel, is_rounded=True).astype(jnp.bfloat16)

    found, pull = jax.vjp(rounded, x, kernel)
    of_x, of_kernel = pull(slope)
    x, kernel, slope = (np.asarray(each, np.float64) for each in (x, kernel, slope))
    rows, slopes = x.reshape(-1, 5), slope.reshape(-1, 7)
    for own, exact in (
        (found, x @ kernel),
        (of_x, slope @ kernel.T),
        (of_kernel, rows.T @ slopes),
    ):
        assert own.dtype == jnp.bfloat16
        # Half an ulp of bfloat16 and no more.
        np.testing.assert_allclose(np.asarray(own, np.float64), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.usefixtures("either_platform")
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2**-8)])
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_a_product_with_a_table_and_its_gradients(
    shape: tuple[int, ...], dtype: DTypeLike, rtol: float
):
    draws = np.random.default_rng(0)
    shapes = (*shape, 5), (7, 5), (*shape, 7)
    x, table, slope = (jnp.asarray(draws.normal(size=s), dtype) for s in shapes)
    found, pull = jax.vjp(product_with_table, x, table)
    of_x, of_table = pull(slope.astype(jnp.float32))
    x, table, slope = (np.asarray(each, np.float64) for each in (x, table, slope))
    assert (found.dtype, of_x.dtype, of_table.dtype) == (jnp.float32, dtype, dtype)
    np.testing.assert_allclose(found, x @ table.T, rtol=1e-5, atol=1e-5)
    for own, exact in (
        (of_x, slope @ table),
        (of_table, slope.reshape(-1, 7).T @ x.reshape(-1, 5)),
    ):
        np.testing.assert_allclose(np.asarray(own, np.float64), exact, rtol=rtol, atol=1e-5)


@pytest.mark.usefixtures("either_platform")
def test_a_narrow_product_has_second_derivatives_and_none_for_what_is_frozen():
    draws = np.random.default_rng(0)
    x, kernel, of_kernel = (
        jnp.asarray(draws.normal(size=shape), jnp.bfloat16) for shape in ((4, 5), (5, 7), (5, 7))
    )

    def squared(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(product(x, kernel, is_rounded=True) ** 2)

    _, second = jax.jvp(lambda kernel: jax.grad(squared, 1)(x, kernel), (kernel,), (of_kernel,))
    wide, along = (np.asarray(each, np.float64) for each in (x, of_kernel))
    np.testing.assert_allclose(
        np.asarray(second, np.float64), 2 * wide.T @ (wide @ along), rtol=0.02, atol=0.1
    )
    for argument in (0, 1):
        program = jax.make_jaxpr(jax.grad(squared, argument))(x, kernel)
        # One forward, one for the slope.
        assert str(program).count("dot_general") == 2


def test_gradients_are_float32_where_the_default_is_float64():
    with jax.enable_x64(True):
        x, kernel = jnp.ones((4, 5), jnp.float32), jnp.ones((5, 7), jnp.float32)
        gradients = jax.grad(lambda x, kernel: jnp.sum(product(x, kernel)), (0, 1))(x, kernel)
    assert [gradient.dtype for gradient in gradients] == [jnp.float32] * 2
