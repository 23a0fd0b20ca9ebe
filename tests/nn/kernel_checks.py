"""How a kernel's values and gradients are held to the definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def value_and_gradients(attend, inputs, *rest):
    """`inputs` are those that are differentiated, and a cotangent."""
    *parts, cotangent = inputs

    def both(parts):
        found, pull = jax.vjp(lambda *parts: attend(*parts, *rest).astype(jnp.float32), *parts)
        return found, pull(cotangent.astype(jnp.float32))

    return quickly(both)(parts)


def assert_agree(ours, theirs, dtype, tolerance):
    """Both as `value_and_gradients` gives them; our gradients have `dtype`."""
    (found, gradients), (expected, right) = ours, theirs
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(gradients, right, strict=True):
        assert ours.dtype == dtype
        ours, theirs = ours.astype(jnp.float32), theirs.astype(jnp.float32)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=2 * tolerance)
