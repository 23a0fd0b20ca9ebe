"""Weights of the vocabulary against their definition, and the memory that they take."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.nn import splade
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.examples import Examples
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.head import Head, Splade
from jaxbert.nn.splade import vocabulary_weights

CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=12,
    initializer_range=0.5,
)
HEAD = Head("masked_lm", splade=Splade())
HOWS = [Splade(), Splade("max", "log1p_relu"), Splade("sum"), Splade("sum", "log1p_relu")]
MASK = np.arange(7) < np.array([[7], [3], [0]])
IDS = np.array([[1, 1, 2, 2, 2, 3, 0], [1, 1, 1, 1, 1, 1, 1], [1, 2, 2, 3, 3, 0, 0]])
PADDED = Examples(jnp.asarray(MASK))
PACKED = Examples(
    jnp.asarray(IDS > 0), jnp.asarray(IDS), jnp.array([[0, 2, 5], [0, 0, 0], [0, 1, 3]])
)
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def drawn(rows: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    shapes = ((3, 7, 5), (rows, 5), (rows,))
    x, table, bias = (draws.normal(size=shape).astype(np.float32) for shape in shapes)
    return x, table, bias


def reference(x: Any, table: Any, bias: Any, members: np.ndarray, how: Splade) -> Any:
    """With the logits of all tokens."""
    logits = jnp.einsum("...sh,vh->...sv", x, table) + bias[None, None]
    weights = jnp.log1p(jax.nn.relu(logits))
    weights = jnp.log1p(weights) if how.activation == "log1p_relu" else weights
    weights = weights[:, None] if members.ndim == 3 else weights
    weights = jnp.where(members[..., None], weights, 0.0)
    return (jnp.max if how.pooling == "max" else jnp.sum)(weights, axis=-2)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: f"{how.pooling}-{how.activation}")
@pytest.mark.parametrize("examples", [PADDED, PACKED], ids=["padded", "packed"])
def test_weights_and_gradients_are_those_of_the_definition_in_float64(
    examples: Examples, how: Splade, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(splade, "_COLUMNS", 16)
    x, table, bias = drawn()
    slope = np.random.default_rng(1).normal(size=(3, *examples.members.shape[1:-1], 64))

    def gradient(weights: Any) -> Any:
        def loss(*given: Any) -> tuple[jax.Array, jax.Array]:
            found = weights(*given)
            return jnp.sum(found * slope.astype(found.dtype)), found

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))

    found = gradient(lambda *given: vocabulary_weights(*given, examples, how))(x, table, bias)
    members = np.asarray(examples.members)
    with jax.enable_x64(True):
        exact = [np.asarray(value, np.float64) for value in (x, table, bias)]
        expected = gradient(lambda *given: reference(*given, members, how))(*exact)
    assert np.asarray(expected[1]).any(axis=-1).sum() == members.any(axis=-1).sum()
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_of_equal_logits_the_first_has_the_gradient():
    x, table, bias = drawn(128)
    x[0, 5] = x[0, 2]

    def loss(x: jax.Array, table: jax.Array, bias: jax.Array) -> jax.Array:
        return jnp.sum(vocabulary_weights(x, table, bias, PADDED, Splade()))

    slopes = np.asarray(quickly(jax.grad(loss))(x, table, bias))
    assert slopes[0, 2].any()
    assert not slopes[0, 5].any()
    assert not slopes[~MASK].any()


@pytest.mark.parametrize("how", [Splade(), Splade("sum")], ids=["max", "sum"])
@pytest.mark.parametrize("num_examples", [None, 4], ids=["padded", "packed"])
def test_the_logits_of_all_tokens_are_never_in_memory(num_examples: int | None, how: Splade):
    batch, seq, width, rows = 4, 64, 16, 16384

    def gradient(x: Any, table: Any, bias: Any, ids: Any, starts: Any) -> Any:
        examples = Examples(ids > 0, *(() if num_examples is None else (ids, starts)))

        def loss(x: Any, table: Any, bias: Any) -> jax.Array:
            return jnp.sum(jnp.square(vocabulary_weights(x, table, bias, examples, how)))

        return jax.grad(loss, argnums=(0, 1, 2))(x, table, bias)

    shapes = ((batch, seq, width), (rows, width), (rows,))
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    ids = jax.ShapeDtypeStruct((batch, seq), jnp.int32)
    starts = jax.ShapeDtypeStruct((batch, num_examples or 1), jnp.int32)
    compiled = jax.jit(gradient).lower(*given, ids, starts).compile()
    whole = 4 * batch * seq * rows
    # 8 blocks of 2,048, of which there are a few copies, and the vectors.
    assert compiled.memory_analysis().temp_size_in_bytes < whole


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_gives_weights_of_the_real_vocabulary_from_its_masked_lm(dtype: str):
    params = init_params(CONFIG, HEAD, 0)
    ids = np.random.default_rng(0).integers(5, 131, (4, 10)).astype(np.int32)
    mask = (np.arange(10) < np.array([[10], [6], [1], [3]])).astype(np.int32)
    found = quickly(make_apply(CONFIG, HEAD, dtype))(params, ids, mask)
    plain = make_apply(CONFIG, replace(HEAD, splade=None), dtype)
    logits = quickly(plain)(params, ids, mask).logits
    assert found.logits is None
    assert found.pooled.dtype == jnp.float32
    expected = jnp.log1p(jax.nn.relu(jnp.max(jnp.where(mask[..., None], logits, 0.0), axis=1)))
    assert (np.asarray(expected) == 0).any()
    np.testing.assert_allclose(found.pooled, expected, rtol=1e-5, atol=1e-6)


def test_texts_of_a_row_and_packed_rows_have_the_weights_of_single_texts():
    params, apply = init_params(CONFIG, HEAD, 0), quickly(make_apply(CONFIG, HEAD))
    draws = np.random.default_rng(0)
    ids, mask = draws.integers(5, 131, (2, 2, 6)), np.ones((2, 2, 6), np.int32)
    mask[0, 1, 4:] = 0
    alone = apply(params, ids.reshape(4, 6), mask.reshape(4, 6)).pooled.reshape(2, 2, -1)
    np.testing.assert_allclose(apply(params, ids, mask).pooled, alone, rtol=1e-5, atol=1e-6)
    found = apply(
        params,
        ids.reshape(2, 12),
        sequence_ids=np.array([[1] * 6 + [2] * 4 + [0] * 2, [1] * 6 + [2] * 6]),
        sequence_starts=np.array([[0, 6], [0, 6]]),
    ).pooled
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


def test_gradients_in_a_shard_map_of_ones_own_are_those_of_all_rows():
    params, apply = init_params(CONFIG, HEAD, 0), make_apply(CONFIG, HEAD)
    ids = np.random.default_rng(0).integers(5, 131, (8, 6)).astype(np.int32)

    def gradient(params: Any, ids: jax.Array, axes: tuple[str, ...] = ()) -> Any:
        return jax.grad(lambda params: jax.lax.pmean(apply(params, ids).pooled.mean(), axes))(
            params
        )

    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, rows = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("rows")
    split = jax.shard_map(
        partial(gradient, axes=("rows",)), mesh=mesh, in_specs=(whole, rows), out_specs=whole
    )
    found, expected = quickly(split)(params, ids), quickly(gradient)(params, ids)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_head_without_logits_makes_no_weights_and_weights_leave_no_logits():
    with pytest.raises(UserError, match="splade: a none head has no logits"):
        Head(splade=Splade())
    apply, params = make_apply(CONFIG, HEAD), init_params(CONFIG, HEAD, 0)
    with pytest.raises(UserError, match="masked_lm_positions: a masked_lm head"):
        apply(params, IDS, masked_lm_positions=IDS[:, :1])
