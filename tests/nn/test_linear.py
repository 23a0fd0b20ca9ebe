import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.nn.linear import Linear

ROWS, LENGTH, INPUTS, OUTPUTS = 4, 64, 128, 256


def gradient_by_the_kernel(layer: Linear, slope: jax.Array):
    graph, params = nnx.split(layer)
    return jax.jit(jax.grad(lambda params, x: jnp.sum(slope * nnx.merge(graph, params)(x)))), params


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_the_kernels_gradient_sums_over_all_axes_of_rows(shape: tuple[int, ...]):
    draws = np.random.default_rng(0)
    x, slope = draws.normal(size=(*shape, 5)), draws.normal(size=(*shape, 7))
    layer = Linear(5, 7, stddev=0.02, dtype=jnp.float32, rngs=nnx.Rngs(0))
    gradient, params = gradient_by_the_kernel(layer, jnp.asarray(slope, jnp.float32))
    found = gradient(params, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(
        found["kernel"][...], x.reshape(-1, 5).T @ slope.reshape(-1, 7), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(found["bias"][...], slope.reshape(-1, 7).sum(0), rtol=1e-5)


def test_on_cpus_no_operand_of_the_kernels_gradient_is_transposed():
    layer = Linear(INPUTS, OUTPUTS, stddev=0.02, dtype=jnp.float32, rngs=nnx.Rngs(0))
    gradient, params = gradient_by_the_kernel(layer, jnp.ones((ROWS, LENGTH, OUTPUTS)))
    x = jnp.ones((ROWS, LENGTH, INPUTS))
    program = gradient.lower(params, x).compile().as_text()
    assert " dot(" in program
    assert " transpose(" not in program
