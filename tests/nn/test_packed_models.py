"""Several examples in a row give what they give in rows of their own, in every family."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.examples import Examples
from jaxbert.nn.functional import (
    abstract_params,
    make_apply,
    model_from_params,
    parameter_shapes,
)
from jaxbert.nn.head import Head, LayerMixture, Pooling
from jaxbert.nn.parts import Convolution, RelativeAttention
from jaxbert.nn.rotary import rotation

LABELS = ("no", "yes", "maybe")
SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 24,
    "pad_token_id": 1,
}
BERT = replace(preset("bert-base-uncased"), **SIZES)
DEBERTA = replace(
    preset("deberta-v2-xlarge"),
    **SIZES,
    position_embedding_type="absolute",
    relative_attention=RelativeAttention(8, 24),
    convolution=Convolution(5),
)
MODERNBERT = replace(
    preset("modernbert-base"), **SIZES | {"num_hidden_layers": 2}, local_attention=6
)
FAMILIES = {
    "bert": BERT,
    "roberta": replace(preset("roberta-base"), **SIZES),
    "xlm-roberta-xl": replace(preset("xlm-roberta-xl"), **SIZES),
    "roberta-prelayernorm": replace(preset("efficient_mlm_m0.40"), **SIZES),
    "megatron-bert": replace(preset("megatron-bert-cased-345m"), **SIZES),
    "ernie": replace(preset("ernie-3.0-nano-zh"), **SIZES),
    "mpnet": replace(preset("mpnet-base"), **SIZES),
    "distilbert": replace(preset("distilbert-base-uncased"), **SIZES),
    "albert": replace(preset("albert-base-v2"), **SIZES, embedding_size=10),
    "electra": replace(preset("electra-small-discriminator"), **SIZES, embedding_size=10),
    "deberta": replace(
        preset("deberta-base"),
        **SIZES,
        relative_attention=RelativeAttention(0, 12, share_att_key=False, norm_rel_ebd=False),
    ),
    "deberta-v2": DEBERTA,
    "modernbert": MODERNBERT,
    "eurobert": replace(preset("eurobert-210m"), **SIZES, num_key_value_heads=2),
    "nomic_bert": replace(preset("nomic-bert-2048"), **SIZES),
    "gte": replace(preset("gte-multilingual-base"), **SIZES),
    "jina_embeddings_v3": replace(preset("jina-embeddings-v3"), **SIZES),
    "esm": replace(preset("esm2_t6_8M"), **SIZES, mask_token_id=7),
}
POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max", "attention", "segments")

WIDTH = 20
ROWS = ((7, 1, 9), (11, 5), (17,), (20,))
"""Lengths of the examples of every row; the last row is full."""
SLOTS = 4
"""Examples that a row may hold."""

# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Place(NamedTuple):
    """Where an example of a packed batch lies."""

    row: int
    number: int
    columns: slice


PLACES = [
    Place(row, number, slice(sum(lengths[:number]), sum(lengths[: number + 1])))
    for row, lengths in enumerate(ROWS)
    for number in range(len(lengths))
]


def unpacked_batch() -> dict[str, np.ndarray]:
    """One example a row, of two sentence types; padding also stands for a token of the first."""
    draws = np.random.default_rng(0)
    lengths = np.array([[n] for row in ROWS for n in row])
    mask = np.arange(WIDTH) < lengths
    ids = np.where(mask, draws.integers(5, 131, mask.shape), 1)
    ids[0, 3] = 1
    # Masks of ESM, which scale what stands beside them in an example.
    ids[(0, 2, 5), (2, 4, 10)] = 7
    types = mask & (np.arange(WIDTH) >= (2 * lengths + 2) // 3)
    return {
        name: values.astype(np.int32)
        for name, values in (
            ("input_ids", ids),
            ("attention_mask", mask),
            ("token_type_ids", types),
        )
    }


def packed(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The examples of an unpacked batch side by side."""
    shape = len(ROWS), WIDTH
    rows = {name: np.zeros(shape, np.int32) for name in ("token_type_ids", "sequence_ids")}
    rows["input_ids"] = np.ones(shape, np.int32)
    rows["sequence_starts"] = np.zeros((len(ROWS), SLOTS), np.int32)
    for example, (row, number, columns) in enumerate(PLACES):
        length = columns.stop - columns.start
        for name in ("input_ids", "token_type_ids"):
            rows[name][row, columns] = batch[name][example, :length]
        rows["sequence_ids"][row, columns] = number + 1
        rows["sequence_starts"][row, number] = columns.start
    return rows


UNPACKED = unpacked_batch()
PACKED = packed(UNPACKED)


def random_params(config: EncoderConfig, head: Head) -> Any:
    """Large values without a compilation, so that every token matters to every other."""
    draws = np.random.default_rng(1)

    def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
        middle, spread = (1.0, 0.1) if path.endswith("/scale") else (0.0, 0.3)
        return draws.normal(middle, spread, shape).astype(np.float32)

    shapes = parameter_shapes(config, head)
    return unflatten_dict({path: draw(path, shape) for path, shape in shapes.items()}, sep="/")


class Built(NamedTuple):
    """A small model: `call(params, batch)` gives hidden states and what is one an example."""

    config: EncoderConfig
    params: Any
    call: Any


def build(config: EncoderConfig) -> Built:
    head = Head("sequence_classification", labels=LABELS)
    apply = make_apply(config, head)

    @quickly
    def call(params: Any, batch: Any) -> tuple[jax.Array, list[jax.Array]]:
        found = apply(params, **batch)
        return found.last_hidden_state, [found.pooled, found.logits]

    return Built(config, random_params(config, head), call)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Built:
    return build(FAMILIES[request.param])


def assert_same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_examples_are_what_they_are_in_rows_of_their_own(family: Built):
    states, vectors = jax.device_get(family.call(family.params, PACKED))
    own_states, own_vectors = jax.device_get(family.call(family.params, UNPACKED))
    for example, (row, number, columns) in enumerate(PLACES):
        assert_same(states[row, columns], own_states[example, : columns.stop - columns.start])
        for found, expected in zip(vectors, own_vectors, strict=True):
            assert_same(found[row, number], expected[example])
    # Padding and examples that are not there.
    assert all(np.isfinite(found).all() for found in (states, *vectors))
    assert family.call._cache_size() == 2


def test_other_tokens_of_an_example_change_no_bit_of_its_neighbours(family: Built):
    changed = dict(PACKED, input_ids=PACKED["input_ids"].copy())
    changed["input_ids"][0, 7] = 77
    changed["input_ids"][1, 3:11] += 1
    changed["input_ids"][1, 16:] = 99
    before, (before_pooled, _) = jax.device_get(family.call(family.params, PACKED))
    after, (after_pooled, _) = jax.device_get(family.call(family.params, changed))
    for row, number, columns in PLACES:
        is_same = (row, number) not in ((0, 1), (1, 0))
        assert (after[row, columns] == before[row, columns]).all() == is_same
        assert (after_pooled[row, number] == before_pooled[row, number]).all() == is_same
    assert family.call._cache_size() <= 2


@pytest.mark.parametrize("name", ["bert", "mpnet", "deberta-v2", "modernbert"])
def test_gradients_are_those_of_rows_of_their_own(name: str):
    config, head = FAMILIES[name], Head("sequence_classification", labels=LABELS)
    apply = make_apply(config, head)
    count = np.zeros((len(ROWS), SLOTS), np.float32)
    for row, number, _ in PLACES:
        count[row, number] = 1

    def loss(params: Any, batch: Any, is_real: Any, counts: Any) -> jax.Array:
        found = apply(params, **batch)
        tokens = jnp.sum(jnp.tanh(found.last_hidden_state) ** 3 * is_real[..., None])
        return tokens + jnp.sum(jax.nn.softplus(found.logits) * counts[..., None])

    gradient, params = quickly(jax.grad(loss)), random_params(config, head)
    found = gradient(params, PACKED, PACKED["sequence_ids"] > 0, count)
    mask = UNPACKED["attention_mask"]
    expected = gradient(params, UNPACKED, mask > 0, np.ones(len(mask), np.float32))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        # That of a key's bias is zero but for rounding.
        assert np.abs(ours - theirs).max() <= 1e-4 * max(np.abs(theirs).max(), 0.1)


def test_every_pooling_reads_its_own_example():
    """All heads in one program, over one encoder."""
    mixture = LayerMixture(2, "concatenated")
    heads = {how: Head("none", pooling=how) for how in POOLINGS}
    heads |= {"mixture": Head("none", pooling="mean", mixture=mixture), "pooler": Head()}
    heads["next_sentence"] = Head("next_sentence")
    params = {name: random_params(BERT, head) for name, head in heads.items()}

    @quickly
    def call(params: Any, batch: Any) -> Any:
        return {
            name: make_apply(BERT, head)(
                params[name] | {"encoder": params["cls"]["encoder"]}, **batch
            ).pooled
            for name, head in heads.items()
        }

    found, expected = call(params, PACKED), call(params, UNPACKED)
    for name in heads:
        assert found[name].shape[:2] == (len(ROWS), SLOTS)
        assert np.isfinite(found[name]).all()
        for example, (row, number, _) in enumerate(PLACES):
            assert_same(found[name][row, number], expected[name][example])


def test_heads_of_tokens_need_no_starts_and_pooled_ones_say_so():
    inputs = {"input_ids": PACKED["input_ids"], "sequence_ids": PACKED["sequence_ids"]}

    def shapes(head: Head, **more: Any) -> Any:
        apply, params = make_apply(BERT, head), abstract_params(BERT, head)
        return jax.eval_shape(lambda p: apply(p, **inputs, **more), params)

    assert shapes(Head("masked_lm")).logits.shape == (4, WIDTH, 131)
    assert shapes(Head("question_answering")).end_logits.shape == (4, WIDTH)
    for head in (Head(), Head("pretraining"), Head("multiple_choice")):
        with pytest.raises(UserError, match="sequence_ids without sequence_starts: this head"):
            shapes(head)
    starts = PACKED["sequence_starts"]
    found = shapes(Head("pretraining"), sequence_starts=starts)
    assert found.seq_relationship_logits.shape == (4, SLOTS, 2)
    # One score for every choice.
    assert shapes(Head("multiple_choice"), sequence_starts=starts).logits.shape == (4, SLOTS)


def test_inputs_that_contradict_each_other_are_refused():
    model = model_from_params(random_params(BERT, Head()), BERT, Head())
    ids, mask, starts = (np.ones((2, n), np.int32) for n in (6, 6, 3))
    with pytest.raises(UserError, match="attention_mask beside sequence_ids"):
        model(ids, mask, sequence_ids=mask, sequence_starts=starts)
    with pytest.raises(UserError, match="sequence_starts without sequence_ids"):
        model(ids, mask, sequence_starts=starts)


SMALL = Examples(
    jnp.array([[True] * 5 + [False]]),
    jnp.array([[1, 1, 2, 2, 2, 0]]),
    jnp.array([[0, 2, 0]]),
)


def test_what_is_where_in_a_row_of_two_examples():
    attended = SMALL.attended[0, 0].astype(int).tolist()
    assert attended == [[1, 1, 0, 0, 0, 0]] * 2 + [[0, 0, 1, 1, 1, 0]] * 3 + [[0] * 6]
    members = SMALL.members[0].astype(int).tolist()
    assert members == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0] * 6]
    numbers = jnp.arange(10, 16)[None, :, None]
    assert SMALL.first(numbers)[0, :, 0].tolist() == [10, 12, 10]
    assert SMALL.by_position(jnp.arange(6.0)[:, None])[0, :, 0].tolist() == [0, 1, 0, 1, 2, 0]
    assert SMALL.counted(jnp.array([[1, 1, 0, 1, 1, 0]])).tolist() == [[1, 2, 0, 1, 2, 0]]
    assert SMALL.totals(jnp.array([[1, 0, 0, 1, 1, 1]])).tolist() == [[1, 1, 2, 2, 2, 1]]
    floats = numbers.astype(float)
    assert SMALL.neighbours(floats, 1)[0, :, 0].tolist() == [11, 0, 13, 14, 0, 0]
    assert SMALL.neighbours(floats, -2)[0, :, 0].tolist() == [0, 0, 0, 0, 12, 0]


def test_rotary_positions_begin_anew():
    """Only distances matter but for rounding, which far from the start is another model's."""
    head = Head("masked_lm")
    encoder = model_from_params(random_params(MODERNBERT, head), MODERNBERT, head).encoder
    for layer_type, inputs in encoder._inputs(SMALL).items():
        rotary = MODERNBERT.rotary
        theta = rotary.rope_theta if layer_type == "full_attention" else rotary.local_rope_theta
        for found, table in zip(inputs.rotation, rotation(6, 6, theta), strict=True):
            np.testing.assert_array_equal(found[0], table[np.array([0, 1, 0, 1, 2, 0])])
