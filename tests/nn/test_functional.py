import dataclasses
import gc
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx
from jax import export

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import (
    _filled,
    _key_of,
    abstract_params,
    functional,
    init_params,
    make_apply,
    model_from_params,
)
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions
from jaxbert.tree import paths

# More than ten layers: their names sort as text, 10 before 2.
CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=8,
    num_hidden_layers=12,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=20,
)
HEAD = Head("masked_lm")
IDS = np.random.default_rng(0).integers(5, 131, (2, 6)).astype(np.int32)


@pytest.fixture(scope="module")
def params() -> Any:
    """Different numbers everywhere; drawing them would take longer."""
    draws = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(draws.normal(size=leaf.shape), leaf.dtype),
        abstract_params(CONFIG, HEAD),
    )


def equal(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_key_draws_what_its_seed_draws():
    config = dataclasses.replace(CONFIG, num_hidden_layers=1)
    key = jax.random.key(3, impl="threefry2x32")
    equal(init_params(config, HEAD, key), init_params(config, HEAD, 3))


def test_a_seed_is_a_number_or_a_key():
    for seed in (3, np.int64(3), jnp.int32(3), jax.random.key(3), jax.random.PRNGKey(3)):
        assert jax.random.key_data(_key_of(seed)).tolist() == [0, 3]
    for seed in ("a", None, 0.5, nnx.Rngs(0)):
        with pytest.raises(UserError, match=r"^seed is .*: expected a key such as.*, or a number"):
            _key_of(seed)


def test_params_are_plain_dicts_of_float32_arrays_named_as_agreed(params: Any):
    assert type(params) is type(params["encoder"]["layers"]) is dict
    assert set(params["encoder"]["layers"]) == {str(layer) for layer in range(12)}
    assert paths(params["encoder"]["layers"]["10"]) == [
        *(
            f"attention/{name}/{leaf}"
            for name in ("key", "output", "query", "value")
            for leaf in ("bias", "kernel")
        ),
        "attention_norm/bias",
        "attention_norm/scale",
        *(f"mlp/{name}/{leaf}" for name in ("down", "up") for leaf in ("bias", "kernel")),
        "mlp_norm/bias",
        "mlp_norm/scale",
    ]
    kernel = params["encoder"]["layers"]["10"]["mlp"]["up"]["kernel"]
    assert (kernel.shape, kernel.dtype) == ((8, 12), jnp.float32)


def test_a_model_survives_the_way_to_params_and_back(params: Any):
    model = model_from_params(params, CONFIG, HEAD)
    assert (model.config, model.head) == (CONFIG, HEAD)
    _, again = functional(model)
    equal(again, params)
    # Shared, not copied.
    pairs = zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True)
    assert all(one is other for one, other in pairs)


@pytest.mark.parametrize("given", [{}, None, "bert-base-uncased"])
def test_what_is_no_model_is_refused(given: Any, monkeypatch: pytest.MonkeyPatch):
    # Outside of the tests nothing looks at types.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match=r"^model is \w+: expected a model"):
        functional(given)


def test_the_function_of_a_model_is_that_of_its_architecture(params: Any):
    apply, _ = functional(model_from_params(params, CONFIG, HEAD))
    programs = [jax.make_jaxpr(f)(params, IDS) for f in (apply, make_apply(CONFIG, HEAD))]
    assert str(programs[0]) == str(programs[1])


def test_every_layer_takes_its_own_parameters(params: Any):
    """By text, 10 comes before 2."""
    model = model_from_params(params, CONFIG, HEAD)
    for number, layer in enumerate(model.encoder.layers):
        kernel = params["encoder"]["layers"][str(number)]["mlp"]["up"]["kernel"]
        assert layer.mlp.up.kernel[...] is kernel


@pytest.mark.parametrize(
    "head", [Head(), Head("pretraining"), Head("sequence_classification", ("a", "b"))]
)
def test_abstract_params_have_the_shapes_of_real_ones(head: Head):
    config = dataclasses.replace(CONFIG, num_hidden_layers=2)
    expected = jax.eval_shape(lambda: init_params(config, head, 0))
    found = abstract_params(config, head)
    assert paths(found) == paths(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_the_compute_dtype_is_a_property_of_the_function_and_not_of_the_params(params: Any):
    found = jax.eval_shape(make_apply(CONFIG, HEAD, jnp.bfloat16), params, IDS)
    assert found.last_hidden_state.dtype == jnp.bfloat16
    assert found.logits.dtype == jnp.float32
    model = model_from_params(params, CONFIG, HEAD, jnp.bfloat16)
    assert jax.eval_shape(model, IDS).last_hidden_state.dtype == jnp.bfloat16


@pytest.mark.parametrize("positions", ["absolute", "after_padding"])
def test_numpy_parameters_may_be_constants_of_a_program(positions: Any):
    """As `load_params` gives them: only the ids are traced."""
    config = dataclasses.replace(CONFIG, num_hidden_layers=1, position_embedding_type=positions)
    head, draws = Head(), np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), abstract_params(config, head)
    )
    apply = make_apply(config, head)
    numbers = np.array([[1, 1, 1, 2, 2, 0], [1] * 6], np.int32)
    starts = np.array([[0, 3], [0, 0]], np.int32)
    for rows in ({}, {"sequence_ids": numbers, "sequence_starts": starts}):
        found = jax.jit(lambda ids, rows=rows: apply(params, ids, **rows).pooled)(IDS)
        expected = jax.jit(lambda params, ids, rows=rows: apply(params, ids, **rows).pooled)(
            params, IDS
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_model_of_numpy_parameters_may_be_a_constant_of_a_program():
    config, draws = dataclasses.replace(CONFIG, num_hidden_layers=1), np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), abstract_params(config, HEAD)
    )
    model = model_from_params(params, config, HEAD)
    found = jax.jit(lambda ids: model(ids).logits)(IDS)
    np.testing.assert_allclose(found, model(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tree: tree["masked_lm"].pop("bias"), "missing masked_lm/bias"),
        (lambda tree: tree.update(pooler=jnp.zeros(8)), "unexpected pooler"),
        (
            lambda tree: tree["masked_lm"].update(bias=jnp.zeros(131)),
            r"masked_lm/bias is \[131\], expected \[256\]",
        ),
    ],
)
def test_a_tree_of_other_parameters_is_refused_by_name(params: Any, change: Any, fault: str):
    other = {**params, "masked_lm": dict(params["masked_lm"])}
    change(other)
    with pytest.raises(UserError, match=fault):
        make_apply(CONFIG, HEAD)(other, IDS)
    with pytest.raises(UserError, match=fault):
        model_from_params(other, CONFIG, HEAD)


def test_a_state_of_nnx_is_no_tree_of_parameters_but_its_dict_is(params: Any):
    state = nnx.state(model_from_params(params, CONFIG, HEAD))
    with pytest.raises(UserError, match=r"^params are an nnx.State: expected plain dicts"):
        _filled(state, state)  # In these tests beartype comes before it in a call.
    found = jax.eval_shape(make_apply(CONFIG, HEAD), nnx.to_pure_dict(state), IDS)
    assert found.logits.shape == (2, 6, 131)


def test_the_function_of_a_model_does_not_keep_its_parameters(params: Any):
    copies = jax.tree.map(jnp.copy, params)
    apply = functional(model_from_params(copies, CONFIG, HEAD))[0]
    kept = weakref.ref(copies["masked_lm"]["bias"])
    del copies
    gc.collect()
    assert kept() is None
    assert jax.eval_shape(apply, params, IDS).logits.shape == (2, 6, 131)


@pytest.mark.parametrize(
    "options", [{}, {"rotary": RotaryPositions(), "position_embedding_type": "none"}]
)
def test_a_program_for_batches_of_any_size_is_exported(
    options: Any, monkeypatch: pytest.MonkeyPatch
):
    # jaxtyping does not know sizes that are symbols.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    config = dataclasses.replace(CONFIG, num_hidden_layers=2, **options)
    apply, params = make_apply(config, HEAD), init_params(config, HEAD, 0)
    batch = jax.ShapeDtypeStruct(export.symbolic_shape("batch, 6"), jnp.int32)
    shapes = jax.eval_shape(lambda: params)
    program = export.export(jax.jit(lambda *inputs: apply(*inputs).logits))(shapes, batch, batch)
    for ids in (IDS, IDS[:1]):
        mask = np.ones_like(ids)
        found, expected = program.call(params, ids, mask), apply(params, ids, mask).logits
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
