"""Replaced-token detection against numpy, and what its sharing promises."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import parameter_shapes
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.replaced_token_pair import (
    DISCRIMINATOR,
    GENERATOR,
    PairApply,
    ReplacedTokenOutput,
    ReplacedTokenPair,
)
from jaxbert.tasks.replaced_tokens import ReplacedTokenDetection
from jaxbert.tasks.task import run_model
from jaxbert.tree import flat

PAD, CLS, SEP, MASK = 0, 1, 2, 3
BIG = EncoderConfig(
    vocab_size=61,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=20,
    initializer_range=0.3,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
SMALL = replace(BIG, hidden_size=8, num_attention_heads=2, embedding_size=16)
TASK = ReplacedTokenDetection((PAD, CLS, SEP))
# Row 0: four masked positions of twelve; row 1: one, and padding; row 2: evaluation's filler.
IDS = np.array(
    [
        [CLS, 9, MASK, 11, MASK, 13, 40, 15, MASK, 17, 18, SEP],
        [CLS, 20, MASK, 22, SEP, PAD, PAD, PAD, PAD, PAD, PAD, PAD],
        [CLS, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD],
    ],
    np.int32,
)
BATCH = {
    "input_ids": IDS,
    "attention_mask": (np.arange(12) < np.array([[12], [5], [1]])).astype(np.int32),
    "token_type_ids": np.zeros_like(IDS),
    "masked_lm_positions": np.array([[2, 4, 6, 8], [2, 0, 0, 0], [0, 0, 0, 0]], np.int32),
    # Position 6 shows another token, and 40 is not what stood there.
    "labels": np.array(
        [[10, 12, 14, 16], [21, -100, -100, -100], [-100, -100, -100, -100]], np.int32
    ),
}
ORIGINAL = np.array(
    [
        [CLS, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, SEP],
        [CLS, 20, 21, 22, SEP, PAD, PAD, PAD, PAD, PAD, PAD, PAD],
        [CLS, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD, PAD],
    ]
)
IS_TEXT = np.array([[0] + [1] * 10 + [0], [0, 1, 1, 1, 0] + [0] * 7, [0] * 12], bool)


def run(pair: ReplacedTokenPair, params: Any, key: Any = None, **changes: Any) -> Any:
    given = {name: jnp.asarray(value) for name, value in (BATCH | changes).items()}
    call = jax.jit(lambda p: run_model(pair.make_apply(), p, given, key, inputs=TASK.model_inputs))
    return call(params)


@pytest.fixture(scope="module")
def shared() -> tuple[ReplacedTokenPair, Any]:
    pair = ReplacedTokenPair(SMALL, BIG)
    return pair, pair.init(0)


def test_masked_positions_are_filled_and_nothing_else_is(shared: Any):
    pair, params = shared
    output = run(pair, params, jax.random.key(3))
    np.testing.assert_array_equal(output.original_ids, ORIGINAL)
    is_masked = np.zeros_like(IDS, bool)
    is_masked[[0, 0, 0, 0, 1], [2, 4, 6, 8, 2]] = True
    assert not np.asarray(output.is_replaced)[~is_masked].any()
    assert np.asarray(output.is_replaced)[is_masked].any()


def test_samples_follow_the_generators_distribution():
    """Chi-squared over 20,000 draws of one position, at two temperatures."""
    draws = 20_000
    small, big = (replace(x, vocab_size=12, num_hidden_layers=0) for x in (SMALL, BIG))
    for temperature in (1.0, 2.0):
        pair = ReplacedTokenPair(small, big, "none", temperature)
        params = pair.init(0)
        params["generator"]["masked_lm"]["bias"] += jnp.linspace(-2, 2, 128)
        tiled = {
            "input_ids": np.tile(np.array([[CLS, MASK, SEP]], np.int32), (draws, 1)),
            "attention_mask": np.ones((draws, 3), np.int32),
            "token_type_ids": np.zeros((draws, 3), np.int32),
            "masked_lm_positions": np.ones((draws, 1), np.int32),
        }
        call = jax.jit(partial(run_model, pair.make_apply(), inputs=TASK.model_inputs))
        counts, expected = [], None
        for token in range(12):
            labels = np.full((draws, 1), token, np.int32)
            output = call(params, tiled | {"labels": labels}, jax.random.key(5))
            # A lucky sample is not a replacement: so the count of one token comes out.
            counts.append(draws - int(np.asarray(output.is_replaced).sum()))
            expected = np.asarray(output.generator_logits[0, 0], np.float64)
        chances = np.exp(expected / temperature) / np.exp(expected / temperature).sum()
        assert sum(counts) == draws
        chi_squared = ((np.array(counts) - draws * chances) ** 2 / (draws * chances)).sum()
        # 11 degrees of freedom: 1 in 10,000 exceeds 37.4.
        assert chi_squared < 37.4


def test_losses_are_those_of_the_paper_and_special_tokens_are_not_judged():
    draws = np.random.default_rng(0)
    output = ReplacedTokenOutput(
        generator_logits=jnp.asarray(draws.normal(size=(3, 4, 61)), jnp.float32),
        logits=jnp.asarray(3 * draws.normal(size=IDS.shape), jnp.float32),
        original_ids=jnp.asarray(ORIGINAL),
        is_replaced=jnp.asarray(draws.random(IDS.shape) < 0.4),
    )
    batch = {name: jnp.asarray(value) for name, value in BATCH.items()}
    sums, weights = TASK.loss_sums(output, batch), TASK.loss_weights(batch)
    assert float(weights["masked_lm_loss"]) == 5
    assert float(weights["replaced_token_loss"]) == IS_TEXT.sum() == 13
    chance = 1 / (1 + np.exp(-np.asarray(output.logits, np.float64)))
    right = np.where(output.is_replaced, chance, 1 - chance)
    expected = -np.log(right)[IS_TEXT].sum()
    np.testing.assert_allclose(sums["replaced_token_loss"], expected, rtol=1e-6)
    assert TASK.loss_factor("replaced_token_loss") == 50.0
    assert TASK.loss_factor("masked_lm_loss") == 1.0
    assert replace(TASK, discriminator_weight=7.0).loss_factor("replaced_token_loss") == 7.0
    assert TASK.metrics({"masked_lm_loss": 2.0}, {})["perplexity"] == pytest.approx(np.exp(2))
    metrics = TASK.metric_sums(output, batch)
    found, replaced = np.asarray(output.logits) > 0, np.asarray(output.is_replaced)
    first = np.asarray(output.generator_logits).argmax(axis=-1)
    masked = BATCH["labels"] >= 0
    literal = {
        "masked_lm_accuracy": (first == BATCH["labels"], masked),
        "replaced_token_accuracy": ((found == replaced) & IS_TEXT, IS_TEXT),
        "replaced_share": (replaced & IS_TEXT, IS_TEXT),
        "replaced_precision": (found & replaced & IS_TEXT, found & IS_TEXT),
        "replaced_recall": (found & replaced & IS_TEXT, replaced & IS_TEXT),
    }
    for name, (total, weight) in literal.items():
        assert tuple(map(float, metrics[name])) == (total.sum(), weight.sum()), name


def test_shared_tables_exist_once_and_both_models_are_whole(shared: Any):
    pair, params = shared
    names = set(flat(params))
    assert not any(
        name.startswith("generator/encoder/embeddings/") and "projection" not in name
        for name in names
    )
    generator, discriminator = pair.generator_params(params), pair.discriminator_params(params)
    assert {p: x.shape for p, x in flat(generator).items()} == parameter_shapes(SMALL, GENERATOR)
    assert {p: x.shape for p, x in flat(discriminator).items()} == parameter_shapes(
        BIG, DISCRIMINATOR
    )
    for name in ("word/embedding", "position/embedding", "token_type/embedding", "norm/scale"):
        one, other = (flat(p)[f"encoder/embeddings/{name}"] for p in (generator, discriminator))
        np.testing.assert_array_equal(one, other)


def gradients(pair: ReplacedTokenPair, params: Any, name: str) -> dict[str, np.ndarray]:
    """Of one of the two losses alone."""
    batch = {key: jnp.asarray(value) for key, value in BATCH.items()}

    def loss(params: Any) -> jax.Array:
        output = run_model(pair.make_apply(), params, batch, None, inputs=TASK.model_inputs)
        return TASK.loss_sums(output, batch)[name]

    return {path: np.asarray(g) for path, g in flat(jax.jit(jax.grad(loss))(params)).items()}


def test_no_gradient_of_the_discriminator_reaches_the_generators_layers(shared: Any):
    pair, params = shared
    found = gradients(pair, params, "replaced_token_loss")
    assert not any(g.any() for path, g in found.items() if path.startswith("generator/"))
    assert found["discriminator/encoder/embeddings/word/embedding"].any()


def test_shared_tables_learn_from_both_losses(shared: Any):
    pair, params = shared
    word = "discriminator/encoder/embeddings/word/embedding"
    assert gradients(pair, params, "masked_lm_loss")[word].any()


def test_gradient_disentangled_embeddings_learn_from_one_loss_each():
    pair = ReplacedTokenPair(replace(BIG, num_hidden_layers=1), BIG, "gradient_disentangled")
    params = pair.init(0)
    delta = "discriminator/encoder/embeddings/word/embedding"
    table = "generator/encoder/embeddings/word/embedding"
    assert not np.asarray(flat(params)[delta]).any()
    whole = flat(pair.discriminator_params(params))["encoder/embeddings/word/embedding"]
    np.testing.assert_array_equal(whole, flat(params)[table])
    generators = gradients(pair, params, "masked_lm_loss")
    judges = gradients(pair, params, "replaced_token_loss")
    assert generators[table].any()
    assert not generators[delta].any()
    assert judges[delta].any()
    assert not judges[table].any()


@pytest.mark.parametrize("sharing", ["shared", "gradient_disentangled", "none"])
def test_two_models_joined_come_apart_as_they_were(sharing: Any):
    pair = ReplacedTokenPair(BIG, BIG, sharing)
    made = pair.init(7)
    generator, discriminator = pair.generator_params(made), pair.discriminator_params(made)
    again = pair.joined(generator, discriminator)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
        (pair.generator_params(again), pair.discriminator_params(again)),
        (generator, discriminator),
    )


def test_packed_rows_are_filled_and_judged_as_rows_of_their_own(shared: Any):
    """The coldest samples are the likeliest tokens, whatever the key."""
    pair, params = replace(shared[0], temperature=1e-9), shared[1]
    packed = {
        "input_ids": np.pad(IDS.ravel()[:17], (0, 3))[None],
        "token_type_ids": np.zeros((1, 20), np.int32),
        "sequence_ids": np.array([[1] * 12 + [2] * 5 + [0] * 3], np.int32),
        "masked_lm_positions": np.array([[2, 4, 6, 8, 14]], np.int32),
        "labels": np.array([[10, 12, 14, 16, 21]], np.int32),
    }

    def sums(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        given = {name: jnp.asarray(values) for name, values in batch.items()}
        output = run_model(pair.make_apply(), params, given, inputs=TASK.model_inputs)
        losses, weights = TASK.loss_sums(output, given), TASK.loss_weights(given)
        return {name: (losses[name], weights[name]) for name in losses} | TASK.metric_sums(
            output, given
        )

    found, expected = jax.jit(sums)(packed), jax.jit(sums)(BATCH)
    assert float(expected["replaced_share"][0]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_both_models_and_the_samples_have_keys_of_their_own(
    shared: Any, monkeypatch: pytest.MonkeyPatch
):
    pair, found = shared[0], []

    def model(logits: jax.Array) -> Any:
        def apply(*_: Any, key: jax.Array | None, **__: Any) -> ModelOutput:
            found.append(key)
            return ModelOutput(jnp.zeros((3, 12, 4)), logits=logits)

        return apply

    def drawn(draw: Any, key: jax.Array, logits: jax.Array) -> jax.Array:
        found.append(key)
        return jnp.zeros(logits.shape[:-1], jnp.int32)

    monkeypatch.setattr("jaxbert.tasks.replaced_token_pair.by_row", drawn)
    apply = PairApply(pair, model(jnp.zeros((3, 4, 61))), model(jnp.zeros((3, 12))))
    key, batch = jax.random.key(3), {name: jnp.asarray(value) for name, value in BATCH.items()}
    run_model(apply, shared[1], batch, key, inputs=TASK.model_inputs)
    assert len({tuple(jax.random.key_data(each).tolist()) for each in [key, *found]}) == 4
    found.clear()
    run_model(apply, shared[1], batch, None, inputs=TASK.model_inputs)
    assert (found[0], found[2]) == (None, None)


def test_without_a_key_the_samples_are_a_function_of_the_batch(shared: Any):
    pair, params = shared
    one, other = run(pair, params), run(pair, params)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    # What is filled in shows in what is judged.
    keyed = [run(pair, params, jax.random.key(seed)).logits for seed in range(2)]
    assert not np.array_equal(*keyed)


def test_a_pair_begins_from_a_key_too(shared: Any):
    pair, params = shared
    keyed = jax.eval_shape(pair.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, keyed) == jax.tree.map(jnp.shape, params)
