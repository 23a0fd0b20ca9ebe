"""DeBERTa-v2's convolution against its definition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.convolution import EmbeddingConvolution
from jaxbert.nn.examples import Examples
from jaxbert.nn.parts import Convolution

CONFIG = EncoderConfig(hidden_size=4, num_attention_heads=1, initializer_range=0.5)
DRAWS = np.random.default_rng(0)
EMBEDDED, X = DRAWS.normal(size=(2, 2, 6, 4)).astype(np.float32)
MASK = np.arange(6) < np.array([[6], [4]])


def module(width: int, dtype: Any = jnp.float32) -> EmbeddingConvolution:
    made = EmbeddingConvolution(CONFIG, Convolution(width, "tanh"), dtype=dtype, rngs=nnx.Rngs(0))
    made.bias[...] = jnp.arange(4.0)
    return made


@pytest.mark.parametrize("width", [1, 3, 5])
def test_every_position_sees_its_neighbours_and_padding_is_zero(width: int):
    convolution = module(width)
    kernel, reach = np.asarray(convolution.kernel[...], np.float64), width // 2
    total = np.broadcast_to(np.arange(4.0), EMBEDDED.shape).copy()
    for position, place in np.ndindex(6, width):
        neighbour = position + place - reach
        if 0 <= neighbour < 6:
            total[:, position] += EMBEDDED[:, neighbour] @ kernel[place]
    summed = X + np.tanh(total)
    centred = summed - summed.mean(-1, keepdims=True)
    normed = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)
    found = convolution(jnp.asarray(EMBEDDED), jnp.asarray(X), Examples(jnp.asarray(MASK)), None)
    np.testing.assert_allclose(found, np.where(MASK[..., None], normed, 0), atol=1e-5)


def test_it_has_gradients_in_bfloat16():
    convolution = module(3, jnp.bfloat16)
    half = jnp.asarray(EMBEDDED, jnp.bfloat16), jnp.asarray(X, jnp.bfloat16)

    def loss(embedded: jax.Array) -> jax.Array:
        found = convolution(embedded, half[1], Examples(jnp.asarray(MASK)), jax.random.key(0))
        assert found.dtype == jnp.bfloat16
        return jnp.sum(found.astype(jnp.float32) ** 3)

    gradient = jax.grad(loss)(half[0])
    assert jnp.any(gradient[1, 4] != 0)
    assert jnp.all(gradient[1, 5] == 0)


@pytest.mark.parametrize("width", [-1, 0, 2])
def test_a_kernel_without_a_middle_is_refused(width: int):
    with pytest.raises(UserError, match=f"conv_kernel_size={width}"):
        Convolution(width)
