"""Rematerialisation changes what is kept, and nothing that is computed."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.families import preset
from jaxbert.hub.load import from_pretrained
from jaxbert.hub.save import save_params
from jaxbert.nn import execution
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import abstract_params, functional, init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.parts import Convolution, RelativeBias

HEAD = Head("sequence_classification", labels=("a", "b"))
BERT = EncoderConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
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
MPNET = replace(BERT, relative_bias=RelativeBias())


def loss(config, remat, ids, dtype=jnp.float32):
    apply = make_apply(config, HEAD, execution=Execution(remat), dtype=dtype)

    def squares(params):
        return jnp.sum(jnp.square(apply(params, ids, key=jax.random.key(1)).logits))

    return squares


def gradient(config, remat, ids):
    return jax.jit(jax.value_and_grad(loss(config, remat, ids)))(init_params(config, HEAD, 0))


def kept(config, remat, ids, dtype=jnp.float32):
    """Bytes that the forward pass keeps for the backward pass."""
    params = abstract_params(config, HEAD)
    # XLA:CPU computes again nothing that it is asked to, so its memory tells nothing.
    backward = jax.eval_shape(
        lambda params: jax.vjp(loss(config, remat, ids, dtype), params)[1], params
    )
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(1, 50, (2, 64))


@pytest.fixture(scope="module")
def plain(ids):
    return cache(lambda config: gradient(config, "none", ids))


@pytest.mark.parametrize("remat", ["attention", "products", "full"])
@pytest.mark.parametrize("config", [BERT, DEBERTA, MPNET], ids=["bert", "deberta", "mpnet"])
def test_the_gradient_is_the_same_with_dropout_too(remat, config, plain, ids):
    expected, found = plain(config), gradient(config, remat, ids)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_model_that_was_opened_computes_again_what_it_is_told_to(ids, tmp_path):
    save_params(init_params(BERT, HEAD, 0), BERT, HEAD, None, tmp_path)

    def kept_by(execution):
        apply, params = functional(from_pretrained(tmp_path, execution=execution))
        vjp = jax.eval_shape(lambda x: jax.vjp(lambda x: apply(x, ids).logits, x)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(vjp))

    assert kept_by(Execution("full")) < 0.7 * kept_by(Execution())


def test_less_is_kept_for_the_backward_pass(ids):
    everything, attention, products, inputs = (
        kept(BERT, name, ids) for name in ("none", "attention", "products", "full")
    )
    assert inputs < products < attention < everything
    rows, length = ids.shape
    layers, heads = BERT.num_hidden_layers, BERT.num_attention_heads
    # The float32 weights, with what dropout left of them as their sign.
    weights = layers * rows * heads * length**2 * 4
    assert everything - attention == pytest.approx(weights, rel=0.001)


@pytest.mark.parametrize(("remat", "numbers"), [("full", 32), ("products", 7 * 32 + 64)])
def test_of_a_layer_remain_its_parameters_and_what_is_said(ids, remat, numbers):
    """full: its input. products: and query, key, value, attended, output, and of the network."""

    def of_a_layer(dtype):
        single, double = (replace(BERT, num_hidden_layers=n) for n in (1, 2))
        added = kept(double, remat, ids, dtype) - kept(single, remat, ids, dtype)
        return added - (size(double) - size(single))

    # The dtype of the products, not that of their sums.
    for dtype, width in ((jnp.float32, 4), (jnp.bfloat16, 2)):
        assert of_a_layer(dtype) == pytest.approx(ids.size * numbers * width, rel=0.02), dtype


def size(config):
    leaves = jax.tree.leaves(abstract_params(config, HEAD))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def test_on_tpus_alone_what_several_products_read_is_written_before_and_no_gradient_waits(
    monkeypatch: pytest.MonkeyPatch,
):
    ids = np.random.default_rng(0).integers(1, 50, (3, 11))
    params = init_params(BERT, HEAD, 0)

    def found():
        step = jax.value_and_grad(loss(BERT, "none", ids))
        barriers = str(jax.make_jaxpr(step)(params)).count("= optimization_barrier")
        return barriers, jax.jit(step)(params)

    # Those of attention head by head, which is how a CPU computes it.
    others, expected = found()
    monkeypatch.setattr(execution, "current_platform", lambda: "tpu")
    barriers, (value, gradients) = found()
    # One in the forward pass of every layer, and none in the backward pass.
    assert barriers == others + BERT.num_hidden_layers
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_what_is_written_before_has_derivatives_in_both_directions(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(execution, "current_platform", lambda: "tpu")

    def cubed(x: jax.Array) -> jax.Array:
        return jnp.sum(execution.for_several_products(x) ** 3)

    x, along = jnp.array([1.0, -2.0, 0.5]), jnp.array([3.0, 1.0, 4.0])
    _, second = jax.jvp(jax.grad(cubed), (x,), (along,))
    np.testing.assert_allclose(second, 6 * x * along, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: jax.grad(cubed)(x) @ along)(x), second, rtol=1e-6)
