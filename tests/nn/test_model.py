"""What a model gives back, and what it must not depend on."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn import linear
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply, model_from_params
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.heads import Classifier
from jaxbert.nn.inputs import (
    check_architecture,
    check_key,
    check_rngs,
    floating,
    integers,
    positions,
)
from jaxbert.nn.model import Model, _check_capture
from jaxbert.nn.parts import RelativeAttention

CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
    # Large weights, so that every token matters to every other.
    initializer_range=0.5,
)
HEAD = Head("pretraining")
LENGTHS = np.array([[12], [7], [1], [0]])
DRAWS = np.random.default_rng(0)
MASK = (np.arange(12) < LENGTHS).astype(np.int32)
IDS = DRAWS.integers(5, 131, MASK.shape).astype(np.int32)
TYPES = (np.arange(12) >= LENGTHS // 2).astype(np.int32)


@pytest.fixture(scope="module")
def params() -> Any:
    return init_params(CONFIG, HEAD, 0)


@pytest.fixture(scope="module")
def call() -> Any:
    """(params, ids, mask, types) -> everything the model can return, as numpy arrays."""
    apply = make_apply(CONFIG, HEAD)
    jitted = jax.jit(lambda *args: apply(*args, capture=("hidden_states", "attentions")))
    return lambda *args: jax.device_get(jitted(*args))


def test_real_positions_do_not_see_what_stands_in_padding(params: Any, call: Any):
    is_real = MASK.astype(bool)
    expected = call(params, IDS, MASK, TYPES)
    noise = DRAWS.integers(5, 131, IDS.shape)
    found = call(params, np.where(is_real, IDS, noise).astype(np.int32), MASK, TYPES * MASK)
    np.testing.assert_array_equal(
        found.last_hidden_state[is_real], expected.last_hidden_state[is_real]
    )
    np.testing.assert_array_equal(found.logits[is_real], expected.logits[is_real])
    np.testing.assert_array_equal(found.pooled[:3], expected.pooled[:3])
    # The noise is not without effect where it stands.
    assert not np.allclose(found.last_hidden_state[1, 7:], expected.last_hidden_state[1, 7:])


def test_more_padding_changes_nothing(params: Any, call: Any):
    short = call(params, IDS[:2, :7], MASK[:2, :7] * 0 + 1, TYPES[:2, :7])
    ids = np.pad(IDS[:2, :7], [(0, 0), (0, 5)])
    mask = np.pad(np.ones((2, 7), np.int32), [(0, 0), (0, 5)])
    long = call(params, ids, mask, np.pad(TYPES[:2, :7], [(0, 0), (0, 5)]))
    np.testing.assert_allclose(
        long.last_hidden_state[:, :7], short.last_hidden_state, rtol=0, atol=2e-5
    )


def test_real_positions_see_each_other_the_segments_and_their_place(params: Any, call: Any):
    expected = call(params, IDS, MASK, TYPES).last_hidden_state[0]
    changed = IDS.copy()
    changed[0, 11] = 5 if IDS[0, 11] != 5 else 6
    swapped = IDS[:, [1, 0, *range(2, 12)]]
    for ids, types in ((changed, TYPES), (IDS, TYPES * 0), (swapped, TYPES)):
        found = call(params, ids, MASK, types).last_hidden_state[0]
        assert not np.allclose(found[5], expected[5], atol=1e-3)


def test_a_row_that_is_all_padding_gives_numbers_and_no_gradient_trouble(params: Any, call: Any):
    found = call(params, IDS, MASK, TYPES)
    assert LENGTHS[3] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    apply = make_apply(CONFIG, HEAD)
    gradient = jax.jit(jax.grad(lambda p: apply(p, IDS, MASK, TYPES).logits[:3].sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_attention_weights_are_of_real_positions_only(params: Any, call: Any):
    for weights in call(params, IDS, MASK, TYPES).attentions:
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
        assert (weights[1, :, :, 7:] == 0).all()


def test_gathered_positions_give_the_logits_of_the_whole(params: Any):
    apply = jax.jit(make_apply(CONFIG, HEAD))
    positions = np.array([[0, 3, 11], [6, 6, 1], [0, 0, 0], [4, 5, 6]], np.int32)
    whole = np.asarray(apply(params, IDS, MASK, TYPES).logits)
    found = apply(params, IDS, MASK, TYPES, masked_lm_positions=positions).logits
    assert found.shape == (4, 3, 131)
    expected = np.take_along_axis(whole, positions[..., None], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


SHAPES: dict[HeadKind, tuple[Any, Any, Any]] = {
    "none": ((4, 24), None, None),
    "pretraining": ((4, 24), (4, 12, 131), (4, 2)),
    "masked_lm": (None, (4, 12, 131), None),
    "next_sentence": ((4, 24), (4, 2), None),
    "sequence_classification": ((4, 24), (4, 3), None),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", SHAPES)
def test_every_head_gives_its_outputs_and_logits_are_always_float32(kind: HeadKind, dtype: Any):
    head = Head(kind, ("a", "b", "c") if kind == "sequence_classification" else ())
    apply = make_apply(CONFIG, head, dtype)
    params = jax.eval_shape(lambda: init_params(CONFIG, head, 0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    found = jax.eval_shape(apply, params, IDS)
    pooled, logits, next_sentence = SHAPES[kind]
    assert found.last_hidden_state.shape == (4, 12, 24)
    for value, shape, expected in (
        (found.last_hidden_state, (4, 12, 24), dtype),
        (found.pooled, pooled, dtype),
        (found.logits, logits, jnp.float32),
        (found.seq_relationship_logits, next_sentence, jnp.float32),
    ):
        assert (None if value is None else (value.shape, value.dtype)) == (
            None if shape is None else (shape, expected)
        )


def test_logits_of_a_bfloat16_classifier_are_sums_that_nobody_rounded():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 24)), jnp.bfloat16)

    def logits(dtype: Any) -> np.ndarray:
        layer = Classifier(CONFIG, 24, 3, 0.0, dtype=dtype, rngs=nnx.Rngs(0))
        layer.dense.kernel[...] = layer.dense.kernel[...].astype(jnp.bfloat16).astype(jnp.float32)
        # Far from 0, where numbers of bfloat16 are 1/32 apart.
        layer.dense.bias[...] = layer.dense.bias[...] + 4.5
        return np.asarray(layer(x, None))

    found, exact = logits(jnp.bfloat16), logits(jnp.float32)
    rounded = found.astype(jnp.bfloat16).astype(np.float32)
    assert (found != rounded).mean() > 0.9
    assert np.abs(found - exact).mean() < 0.01 * np.abs(rounded - exact).mean()


def test_bfloat16_computes_in_bfloat16_and_keeps_gradients_in_float32(params: Any):
    apply = make_apply(CONFIG, HEAD, jnp.bfloat16)

    def loss(params: Any) -> jax.Array:
        return apply(params, IDS, MASK, TYPES).logits.mean()

    gradients = jax.eval_shape(jax.grad(loss), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {np.dtype(np.float32)}
    text = jax.jit(apply).lower(params, IDS, MASK, TYPES).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    # The vocabulary's bias for every row: on a CPU a product, so that one sums its gradient.
    [of_bias] = [
        line for line in products if f"x1xf32>, tensor<1x{CONFIG.padded_vocab_size}" in line
    ]
    products.remove(of_bias)
    # Six products with weights and two of attention in each layer, pooler, two of the LM, NSP.
    assert len(products) == 2 * 8 + 4
    assert all("xbf16>" in line.split("dot_general")[1].split("->")[0] for line in products)
    assert not any("xf32>, " in line for line in products)


def test_gradients_have_the_dtype_of_their_parameters(params: Any):
    """Norms gave float32, so that no loop could carry a sum of gradients."""
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    apply = make_apply(CONFIG, HEAD, jnp.bfloat16)
    found = jax.eval_shape(jax.grad(lambda tree: apply(tree, IDS).logits.sum()), narrow)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}


def test_capture_gives_what_is_asked_for(params: Any):
    apply = make_apply(CONFIG, HEAD)
    found = jax.eval_shape(lambda p: apply(p, IDS, capture=("hidden_states",)), params)
    assert len(found.hidden_states) == 3
    assert found.attentions is None
    found = jax.eval_shape(lambda p: apply(p, IDS, capture=("attentions",)), params)
    assert [weights.shape for weights in found.attentions] == [(4, 4, 12, 12)] * 2
    assert found.hidden_states is None


@pytest.fixture(scope="module")
def model(params: Any) -> Model:
    return model_from_params(params, CONFIG, HEAD)


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32, jnp.int32])
def test_a_model_takes_numpy_and_masks_of_any_kind(model: Model, params: Any, call: Any, kind: Any):
    found = model(IDS, attention_mask=MASK.astype(kind), token_type_ids=TYPES)
    expected = call(params, IDS, MASK, TYPES)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=5e-5)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_ids_may_be_stored_in_few_bits(params: Any, kind: Any):
    ids = IDS.astype(np.uint8).clip(0, np.iinfo(kind).max)
    apply = make_apply(CONFIG, HEAD)
    expected = apply(params, ids.astype(np.int32)).logits
    np.testing.assert_array_equal(apply(params, ids.astype(kind)).logits, expected)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_in_a_shard_map_of_ones_own_are_those_of_all_rows(
    params: Any, monkeypatch: pytest.MonkeyPatch, platform: str, dtype: str
):
    monkeypatch.setattr(linear, "current_platform", lambda: platform)
    apply = make_apply(CONFIG, HEAD, dtype)

    def gradient(params: Any, ids: jax.Array, axes: tuple[str, ...] = ()) -> Any:
        def loss(params: Any) -> jax.Array:
            return jax.lax.pmean(apply(params, ids).logits.mean(), axes)

        return jax.grad(loss)(params)["encoder"]["layers"]["0"]

    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, rows = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("rows")
    split = jax.shard_map(
        partial(gradient, axes=("rows",)), mesh=mesh, in_specs=(whole, rows), out_specs=whole
    )
    found, expected = jax.jit(split)(params, IDS), jax.jit(gradient)(params, IDS)
    limit = 1e-5 if dtype == "float32" else 1e-2
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(float(jnp.abs(other).max()), 1e-3)
        np.testing.assert_allclose(one, other, rtol=0, atol=limit * scale)


def test_rows_that_are_split_over_explicit_axes_are_refused(params: Any):
    rows = jax.sharding.PartitionSpec("rows")
    kinds = jax.sharding.AxisType
    apply = make_apply(CONFIG, HEAD)
    automatic, explicit = (
        jax.make_mesh((4,), ("rows",), axis_types=(kind,)) for kind in (kinds.Auto, kinds.Explicit)
    )
    ids = jax.device_put(IDS, jax.sharding.NamedSharding(explicit, rows))
    for call in (apply, jax.jit(apply)):
        with pytest.raises(
            UserError, match=r"input_ids is split over the explicit axes \['rows'\]"
        ):
            call(params, ids)
    ids = jax.device_put(IDS, jax.sharding.NamedSharding(automatic, rows))
    assert jax.jit(apply)(params, ids).logits.shape == (4, 12, 131)


def test_a_table_that_is_split_over_explicit_axes_is_refused(params: Any):
    mesh = jax.make_mesh((4,), ("fsdp",), axis_types=(jax.sharding.AxisType.Explicit,))
    word = {"embedding": params["encoder"]["embeddings"]["word"]["embedding"]}
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp"))
    embeddings = {**params["encoder"]["embeddings"], "word": jax.device_put(word, rows)}
    split = {**params, "encoder": {**params["encoder"], "embeddings": embeddings}}
    for call in (make_apply(CONFIG, HEAD), jax.jit(make_apply(CONFIG, HEAD))):
        with pytest.raises(UserError, match=r"^encoder/embeddings/word/embedding is split over"):
            call(split, IDS)


def test_a_misspelt_capture_is_refused():
    # In these tests beartype comes before the check of the call itself.
    _check_capture(("hidden_states", "attentions"))
    with pytest.raises(UserError, match="capture='hiden_states': expected some of hidden_states"):
        _check_capture(("hiden_states",))


def test_rows_longer_than_the_model_are_refused(model: Model):
    with pytest.raises(UserError, match="21 tokens per row and the model at most 20"):
        model(np.zeros((2, 21), np.int32))


def filled(rows: int, columns: int, value: Any = 0) -> Any:
    return np.full((rows, columns), value)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"attention_mask": MASK.T}, r"attention_mask is \[12, 4\]: expected \[4, 12\]"),
        ({"attention_mask": MASK[:, None, None]}, r"attention_mask is \[4, 1, 1, 12\]"),
        ({"attention_mask": filled(4, 12, -1e4)}, "attention_mask holds -10000.0: expected 1"),
        ({"attention_mask": jnp.zeros((4, 12))}, "attention_mask is float32: expected integers"),
        ({"token_type_ids": TYPES.T}, r"token_type_ids is \[12, 4\]: expected \[4, 12\]"),
        ({"token_type_ids": TYPES[:1]}, r"token_type_ids is \[1, 12\]: expected \[4, 12\]"),
        ({"token_type_ids": TYPES + 7}, "token_type_ids holds 8: expected 0 to 1"),
        ({"token_type_ids": TYPES * 0.5}, "token_type_ids is float64: expected integers"),
        ({"input_ids": IDS[:1]}, r"attention_mask is \[4, 12\]: expected \[1, 12\]"),
        ({"input_ids": IDS[0]}, r"input_ids is \[12\]: a pretraining head takes \[batch, seq\]"),
        ({"input_ids": IDS[:0]}, r"input_ids is \[0, 12\]: expected at least one row"),
        ({"input_ids": IDS.astype(float)}, "input_ids is float64: expected integers"),
        ({"input_ids": IDS + 5000}, "input_ids holds 5...: expected 0 to 130"),
        ({"input_ids": filled(4, 12, -100)}, "input_ids holds -100: expected 0 to 130"),
        ({"input_ids": [[1, 2], [1]]}, "input_ids has rows of unequal lengths"),
        ({"input_ids": None}, "expected input_ids or inputs_embeds, one of them"),
        (
            {"input_ids": None, "inputs_embeds": np.zeros((4, 12, 23))},
            r"inputs_embeds is float32 \[4, 12, 23\]: expected floats \[batch, seq, 24\]",
        ),
        ({"position_ids": IDS[:2] * 0}, r"position_ids is \[2, 12\]: expected \[4, 12\]"),
        ({"position_ids": IDS * 0 + 20}, "position_ids holds 20: expected 0 to 19"),
        ({"masked_lm_positions": [[1]] * 3}, r"is \[3, 1\]: expected \[4, predictions\]"),
        ({"masked_lm_positions": [[12]] * 4}, "masked_lm_positions holds 12: expected 0 to 11"),
    ],
)
def test_inputs_that_would_give_wrong_numbers_are_refused(model: Model, inputs: Any, message: str):
    given = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": TYPES} | inputs
    with pytest.raises(UserError, match=message):
        model(**given)


def test_shapes_are_checked_under_jit_too(params: Any):
    apply = jax.jit(make_apply(CONFIG, HEAD))
    with pytest.raises(UserError, match="attention_mask is"):
        apply(params, IDS, MASK.T)
    with pytest.raises(UserError, match="float32: expected integers"):
        apply(params, IDS.astype(np.float32))


def test_starts_of_another_batch_are_refused(model: Model):
    with pytest.raises(UserError, match=r"sequence_starts is \[1, 2\]: expected \[4, examples\]"):
        model(IDS, sequence_ids=MASK, sequence_starts=[[0, 3]])
    with pytest.raises(UserError, match=r"sequence_ids is \[1, 12\]: expected \[4, 12\]"):
        model(IDS, sequence_ids=MASK[:1], sequence_starts=[[0, 3]])


def test_nested_lists_are_inputs_too(model: Model):
    found = model(IDS.tolist(), MASK.tolist(), TYPES.tolist(), masked_lm_positions=[[3]] * 4)
    expected = model(IDS, MASK, TYPES, masked_lm_positions=np.full((4, 1), 3))
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_positions_may_be_those_of_all_rows(model: Model):
    places = np.arange(12)[None] + 3
    found, expected = (
        model(IDS, MASK, position_ids=given).logits for given in (places, np.tile(places, (4, 1)))
    )
    np.testing.assert_array_equal(found, expected)


def test_a_batch_in_place_of_its_ids_is_refused():
    # In these tests beartype comes before the check of the model itself.
    with pytest.raises(UserError, match=r"^input_ids is a whole batch: .* as in model\(\*\*batch"):
        integers("input_ids", {"input_ids": IDS})


def test_positions_of_a_model_that_reads_distances_are_refused():
    config = dataclasses.replace(CONFIG, relative_attention=RelativeAttention())
    with pytest.raises(UserError, match="position_ids: bert attends by the distance"):
        positions(IDS * 0, config, IDS.shape)


def test_positions_of_a_head_without_vocabulary_are_refused():
    head = Head()
    model = model_from_params(init_params(CONFIG, head, 0), CONFIG, head)
    with pytest.raises(UserError, match="masked_lm_positions: a none head has no logits"):
        model(IDS, masked_lm_positions=[[3]] * 4)


@pytest.mark.parametrize("key", [0, nnx.Rngs(0)])
def test_what_is_no_key_is_refused(key: Any):
    for right in (jax.random.key(0), jax.random.PRNGKey(0)):
        check_key(right)
        with pytest.raises(UserError, match=r"key is keys of shape \[2.*\]: expected one"):
            check_key(jnp.stack([right, right]))
    with pytest.raises(UserError, match=rf"key is {type(key).__name__}: expected a key such as"):
        check_key(key)


@pytest.mark.parametrize("rngs", [0, jax.random.key(0), None])
def test_a_seed_in_place_of_rngs_is_refused(rngs: Any):
    check_rngs(nnx.Rngs(0))
    with pytest.raises(UserError, match=r"^rngs is .*: expected nnx.Rngs\(seed\)"):
        check_rngs(rngs)


@pytest.mark.parametrize("dtype", ["int8", jnp.int32, "bf16", "float64", None])
def test_a_dtype_that_nothing_is_computed_in_is_refused(dtype: Any):
    """int8 rounded every activation to a whole number; None is float64 to NumPy.

    Of float64 sums were float32 all the same.
    """
    assert floating("bfloat16") == jnp.bfloat16
    with pytest.raises(UserError, match=r"^dtype=.*: expected one to compute in"):
        floating(dtype)
    for make in (make_apply, partial(Model, rngs=nnx.Rngs(0))):
        with pytest.raises(UserError, match=r"^dtype='int8': expected one to compute in"):
            make(CONFIG, HEAD, dtype="int8")


@pytest.mark.parametrize(
    ("config", "head", "message"),
    [
        (CONFIG, "masked_lm", r"head is 'masked_lm': expected a Head, such as jaxbert.Head\("),
        ("bert-base", HEAD, "config is 'bert-base': expected an EncoderConfig"),
    ],
)
def test_names_in_place_of_values_are_refused(config: Any, head: Any, message: str):
    # In these tests beartype comes before the check of the model itself.
    with pytest.raises(UserError, match=message):
        check_architecture(config, head)


def test_the_name_of_a_way_to_compute_is_refused_where_a_value_is_wanted():
    with pytest.raises(UserError, match=r"^execution is 'full': expected an Execution .*remat='f"):
        check_architecture(CONFIG, HEAD, "full")
