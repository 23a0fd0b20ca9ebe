"""Poolings and mixtures of layers against their definitions in float64."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.examples import Examples
from jaxbert.nn.functional import abstract_params, init_params, make_apply
from jaxbert.nn.head import MIXING, POOLED, Head, HeadKind, LayerMixture, Pooling
from jaxbert.nn.pooling import AttentionPooling, Mixture, pool

CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=12,
    initializer_range=0.5,
)
POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max", "attention", "segments")
MIXTURES = (None, LayerMixture(2, "weighted"), LayerMixture(3, "concatenated"))
DRAWS = np.random.default_rng(0)
LENGTHS = np.array([[10], [6], [1], [0]])
MASK = np.arange(10) < LENGTHS
X = DRAWS.normal(size=(4, 10, 8)).astype(np.float32)
# A long first and a short second sentence; the second row has only a first one.
TYPES = ((np.arange(10) >= 7) & MASK).astype(np.int32)
SCORE = DRAWS.normal(size=(8, 1)).astype(np.float32)


def attention_pooling(kernel: np.ndarray = SCORE) -> AttentionPooling:
    module = AttentionPooling(len(kernel), CONFIG, dtype=jnp.float32, rngs=nnx.Rngs(0))
    module.score.kernel[...] = jnp.asarray(kernel)
    return module


def pooled(x: Any, mask: Any, types: Any, how: Pooling) -> jax.Array:
    x, types, examples = jnp.asarray(x), jnp.asarray(types), Examples(jnp.asarray(mask))
    if how == "attention":
        return attention_pooling()(x, examples)
    return pool(x, examples, types, how, 2)


def row_reference(
    tokens: np.ndarray, types: np.ndarray, how: Pooling, score: np.ndarray
) -> np.ndarray:
    """The vector of one row from the tokens that count."""
    if how == "cls":
        return tokens[0]
    if how == "max":
        return tokens.max(axis=0)
    if how == "mean":
        return tokens.mean(axis=0)
    if how == "segments":
        return np.mean([tokens[types == kind].mean(axis=0) for kind in np.unique(types)], axis=0)
    weights = np.exp(tokens @ score.astype(np.float64))
    return (weights / weights.sum() * tokens).sum(axis=0)


def reference(
    x: Any, mask: np.ndarray, types: np.ndarray, how: Pooling, score: np.ndarray = SCORE
) -> np.ndarray:
    """float64, without the rows that have no tokens."""
    x = np.asarray(x, np.float64)
    rows = [row for row in range(len(x)) if mask[row].any()]
    return np.stack([row_reference(x[r][mask[r]], types[r][mask[r]], how, score) for r in rows])


@pytest.mark.parametrize("how", POOLINGS)
def test_a_pooling_is_its_definition(how: Pooling):
    found = pooled(X, MASK, TYPES, how)
    np.testing.assert_allclose(found[:3], reference(X, MASK, TYPES, how), rtol=0, atol=1e-6)


def test_a_short_second_sentence_counts_as_much_as_a_long_first():
    x = np.array([[[0.0], [2.0], [4.0], [10.0], [99.0]]], np.float32)
    mask = np.array([[True, True, True, True, False]])
    types = np.array([[0, 0, 0, 1, 1]], np.int32)
    assert float(pooled(x, mask, types, "segments")[0, 0]) == (2 + 10) / 2
    assert float(pooled(x, mask, types, "mean")[0, 0]) == 4
    assert float(pooled(x, mask, types, "max")[0, 0]) == 10


@pytest.mark.parametrize("how", POOLINGS)
def test_a_row_of_one_token_is_that_token(how: Pooling):
    np.testing.assert_array_equal(pooled(X, MASK, TYPES, how)[2], X[2, 0])


@pytest.mark.parametrize("how", ["mean", "max", "attention", "segments"])
def test_a_row_without_tokens_is_zero(how: Pooling):
    np.testing.assert_array_equal(pooled(X, MASK, TYPES, how)[3], np.zeros(8))


@pytest.mark.parametrize("how", POOLINGS)
def test_neither_more_padding_nor_what_stands_in_it_matters(how: Pooling):
    noisy = np.where(MASK[..., None], X, 1e4)
    noisy[:, 0] = X[:, 0]
    wide = np.concatenate([noisy, np.full((4, 6, 8), -1e4, np.float32)], axis=1)
    mask, types = np.pad(MASK, [(0, 0), (0, 6)]), np.pad(TYPES, [(0, 0), (0, 6)])
    np.testing.assert_allclose(
        pooled(wide, mask, types, how), pooled(X, MASK, TYPES, how), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("how", POOLINGS)
def test_gradients_are_finite_and_none_reaches_padding(how: Pooling):
    # Equal values, so that the largest is not the only one.
    x = np.where(np.arange(10)[None, :, None] < 5, 1.0, X).astype(np.float32)
    gradient = np.asarray(jax.grad(lambda x: jnp.sum(pooled(x, MASK, TYPES, how) ** 2))(x))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).max() > 0
    if how != "cls":
        assert (gradient[~MASK] == 0).all()


@pytest.mark.parametrize("how", ["mean", "attention", "segments"])
def test_sums_run_in_float32_whatever_the_dtype(how: Pooling):
    # In bfloat16 256 + 1 is 256: the mean of a thousand ones would be far below one.
    x = jnp.ones((1, 1000, 8), jnp.bfloat16)
    found = pooled(x, np.ones((1, 1000), bool), np.zeros((1, 1000), np.int32), how)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32), np.ones((1, 8)))


LAYERS = tuple(jnp.asarray(DRAWS.normal(size=(2, 3, 4)).astype(np.float32)) for _ in range(5))


def test_a_weighted_mixture_starts_as_the_mean_of_the_last_layers():
    found = Mixture(LayerMixture(3))(LAYERS)
    expected = np.mean(np.asarray(LAYERS[2:], np.float64), axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_weighted_mixture_is_a_scaled_softmax_over_layers():
    mixture = Mixture(LayerMixture(2))
    mixture.weights[...] = jnp.log(jnp.array([1.0, 3.0]))
    mixture.scale[...] = jnp.array([2.0])
    expected = 2 * (0.25 * np.asarray(LAYERS[3], np.float64) + 0.75 * np.asarray(LAYERS[4]))
    np.testing.assert_allclose(mixture(LAYERS), expected, rtol=0, atol=1e-6)


def test_a_mixture_side_by_side_ends_with_the_last_layer():
    found = Mixture(LayerMixture(2, "concatenated"))(LAYERS)
    np.testing.assert_array_equal(found, np.concatenate(LAYERS[3:], axis=-1))


def head_of(kind: HeadKind, pooling: Pooling | None, mixture: LayerMixture | None) -> Head:
    labels = ("a", "b", "c") if kind.endswith("classification") else ()
    return Head(kind, labels, pooling=pooling, mixture=mixture)


HEADS = [
    head_of(kind, pooling, mixture)
    for kind in sorted(MIXING)
    for pooling in (None, *POOLINGS)
    for mixture in MIXTURES
    if pooling is None or kind in POOLED
]


def name_of(head: Head) -> str:
    return f"{head.kind}-{head.pooling}-{head.mixture and head.mixture.how}"


@pytest.mark.parametrize("head", HEADS, ids=name_of)
def test_every_head_that_chooses_gives_outputs_of_its_shape(head: Head):
    params = abstract_params(CONFIG, head)
    ids = jax.ShapeDtypeStruct((2, 3, 5) if head.kind == "multiple_choice" else (4, 5), "int32")
    found = jax.eval_shape(make_apply(CONFIG, head), params, ids)
    width = 24 if head.mixture and head.mixture.how == "concatenated" else 8
    if head.kind == "none":
        assert found.pooled.shape == (4, width)
    elif head.kind == "question_answering":
        assert found.start_logits.shape == found.end_logits.shape == (4, 5)
    else:
        assert (
            found.logits.shape
            == {
                "sequence_classification": (4, 3),
                "token_classification": (4, 5, 3),
                "multiple_choice": (2, 3),
            }[head.kind]
        )


@pytest.mark.parametrize(
    ("pooling", "mixture"),
    [
        *(("mean", None), ("max", MIXTURES[1]), ("attention", MIXTURES[2])),
        *(("segments", MIXTURES[1]), ("cls", MIXTURES[2])),
    ],
)
def test_an_encoder_pools_what_its_layers_give(pooling: Pooling, mixture: LayerMixture | None):
    head = Head("none", pooling=pooling, mixture=mixture)
    params = init_params(CONFIG, head, 0)
    ids = DRAWS.integers(5, 131, (3, 10)).astype(np.int32)
    mask, types = MASK[:3], TYPES[:3]
    apply = make_apply(CONFIG, head)
    found = jax.jit(lambda params: apply(params, ids, mask, types, capture=("hidden_states",)))(
        params
    )
    states = np.asarray(found.hidden_states, np.float64)
    read = states[-1]
    if mixture is not None:
        is_weighted = mixture.how == "weighted"
        read = states[-2:].mean(axis=0) if is_weighted else np.concatenate(states, axis=-1)
    score = params["attention_pooling"]["score"]["kernel"] if pooling == "attention" else SCORE
    expected = reference(read, mask, types, pooling, np.asarray(score))
    np.testing.assert_allclose(found.pooled, expected, rtol=0, atol=2e-6)


def test_every_parameter_of_a_pooling_head_learns():
    head = head_of("sequence_classification", "attention", MIXTURES[1])
    params, ids = init_params(CONFIG, head, 0), np.full((2, 5), 7, np.int32)
    ids[:, 2:] = [[8, 9, 10], [11, 12, 13]]
    apply = make_apply(CONFIG, head)
    gradients = jax.jit(jax.grad(lambda params: apply(params, ids).logits[:, 0].sum()))(params)
    for module in ("mixture", "attention_pooling", "pooler", "classifier"):
        for leaf in jax.tree.leaves(gradients[module]):
            assert np.isfinite(leaf).all()
            assert np.abs(leaf).max() > 0, module


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "masked_lm", "pooling": "mean"}, "pooling='mean': a masked_lm head does not"),
        ({"kind": "pretraining", "mixture": LayerMixture()}, "a pretraining head reads the last"),
        ({"kind": "question_answering", "pooling": "max"}, "a question_answering head does not"),
    ],
)
def test_heads_that_choose_nothing_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        Head(**options)


def test_a_model_without_sentence_types_has_no_segments():
    head = Head("none", pooling="segments")
    with pytest.raises(UserError, match=r"bert has type_vocab_size=1, and no two kinds"):
        abstract_params(replace(CONFIG, type_vocab_size=1), head)


def test_more_layers_than_there_are_cannot_be_mixed():
    with pytest.raises(UserError, match=r"mixture.num_layers=0: must be at least 1"):
        LayerMixture(0)
    with pytest.raises(UserError, match=r"num_layers=4: the model has 2 layers and its embeddings"):
        abstract_params(CONFIG, Head("none", mixture=LayerMixture(4)))
