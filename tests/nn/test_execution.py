"""Rematerialisation changes what is kept, and nothing that is computed."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.families import preset
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import abstract_params, init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.parts import Convolution

HEAD = Head("sequence_classification", labels=("a", "b"))
BERT = EncoderConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=64,
)
DEBERTA = replace(
    preset("deberta-v3-small"),
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    convolution=Convolution(),
)


def loss(config, remat, ids):
    apply = make_apply(config, HEAD, execution=Execution(remat))

    def squares(params):
        return jnp.sum(jnp.square(apply(params, ids, key=jax.random.key(1)).logits))

    return squares


def gradient(config, remat, ids):
    return jax.jit(jax.value_and_grad(loss(config, remat, ids)))(init_params(config, HEAD, 0))


def kept(config, remat, ids):
    """Bytes that the forward pass keeps for the backward pass."""
    params = abstract_params(config, HEAD)
    # XLA:CPU computes again nothing that it is asked to, so its memory tells nothing.
    backward = jax.eval_shape(lambda params: jax.vjp(loss(config, remat, ids), params)[1], params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(1, 50, (2, 64))


@pytest.fixture(scope="module")
def plain(ids):
    return cache(lambda config: gradient(config, "none", ids))


@pytest.mark.parametrize("remat", ["products", "full"])
@pytest.mark.parametrize("config", [BERT, DEBERTA], ids=["bert", "deberta"])
def test_the_gradient_is_the_same_with_dropout_too(remat, config, plain, ids):
    expected, found = plain(config), gradient(config, remat, ids)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_less_is_kept_for_the_backward_pass(ids):
    everything, products, inputs = (kept(BERT, name, ids) for name in ("none", "products", "full"))
    assert inputs < products < everything
    rows, length = ids.shape
    layers, heads = BERT.num_hidden_layers, BERT.num_attention_heads
    # Attention's float32 weights, quadratic in the length, are the first to go.
    assert everything - products > layers * rows * heads * length**2 * 4
    # Of a layer remain its input and its parameters.
    single = replace(BERT, num_hidden_layers=1)
    more = kept(BERT, "full", ids) - kept(single, "full", ids) - size(BERT) + size(single)
    assert more == pytest.approx((layers - 1) * rows * length * BERT.hidden_size * 4, rel=0.01)


def size(config):
    leaves = jax.tree.leaves(abstract_params(config, HEAD))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
