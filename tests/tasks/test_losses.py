"""Losses against their definition, row by row, in float64."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.tasks.losses import (
    IGNORED,
    correct_sum,
    cross_entropy_sum,
    label_count,
    weighted_cross_entropies,
)
from jaxbert.tasks.task import Task


def brute_force(logits: np.ndarray, labels: np.ndarray) -> tuple[float, int, int]:
    """Cross-entropy sum, correct answers and labels that count."""
    total, correct, count = 0.0, 0, 0
    for row, label in zip(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), strict=True):
        if label == -100:
            continue
        row = row.astype(np.float64)
        total += np.log(np.exp(row).sum()) - row[label]
        correct += row.argmax() == label
        count += 1
    return total, correct, count


def drawn(shape: tuple[int, ...], classes: int, ignored: float) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(0)
    labels = draws.integers(0, classes, shape).astype(np.int32)
    labels[draws.random(shape) < ignored] = IGNORED
    return (3 * draws.normal(size=(*shape, classes))).astype(np.float32), labels


@pytest.mark.parametrize(
    ("shape", "classes", "ignored"),
    [((64,), 3, 0.0), ((64,), 3, 0.3), ((8, 20), 131, 0.5), ((1,), 2, 0.0), ((5, 4), 131, 1.0)],
)
def test_sums_equal_their_definition(shape: tuple[int, ...], classes: int, ignored: float):
    logits, labels = drawn(shape, classes, ignored)
    total, correct, count = brute_force(logits, labels)
    found = cross_entropy_sum(jnp.asarray(logits), jnp.asarray(labels))
    assert float(found) == pytest.approx(total, rel=1e-6)
    assert float(correct_sum(jnp.asarray(logits), jnp.asarray(labels))) == correct
    assert float(label_count(jnp.asarray(labels))) == count


def test_huge_logits_neither_overflow_nor_lose_the_difference():
    logits = jnp.array([[1e4, -1e4, 0.0], [3e38, 0.0, 0.0], [-1e30, -1e30, -1e30], [7e4] * 3])
    losses = [2e4, 0.0, math.log(3), math.log(3)]
    for row, label, loss in zip(logits, (1, 0, 2, 2), losses, strict=True):
        assert float(cross_entropy_sum(row[None], jnp.array([label]))) == pytest.approx(loss)


def test_bfloat16_logits_are_summed_in_float32():
    logits, labels = drawn((400,), 131, 0.1)
    rounded = jnp.asarray(logits, jnp.bfloat16)
    found = cross_entropy_sum(rounded, jnp.asarray(labels))
    assert found.dtype == jnp.float32
    total, _, _ = brute_force(np.asarray(rounded, np.float32), labels)
    assert float(found) == pytest.approx(total, rel=1e-6)


def test_the_gradient_is_softmax_minus_one_hot_and_zero_where_ignored():
    logits, labels = drawn((12,), 5, 0.4)
    found = jax.grad(cross_entropy_sum)(jnp.asarray(logits), jnp.asarray(labels))
    exact = np.exp(logits.astype(np.float64))
    expected = exact / exact.sum(axis=-1, keepdims=True) - np.eye(5)[np.maximum(labels, 0)]
    expected[labels == IGNORED] = 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_label_smoothing_is_no_matrix_product():
    # Which TPUs would compute in bfloat16: 8e-4 of a loss of 1.2 is lost so.
    weights = np.array([0.3, 1.7, 3.1], np.float32)

    def losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return weighted_cross_entropies(logits, labels, weights, 0.1)

    gradient = jax.grad(lambda *given: jnp.sum(losses(*given)))
    for function in (losses, gradient):
        program = jax.make_jaxpr(function)(jnp.zeros((2, 4, 3)), jnp.zeros((2, 4), jnp.int32))
        assert "dot_general" not in str(program)


def test_an_ignored_label_is_never_correct():
    logits = jnp.zeros((4, 3)).at[:, 0].set(1.0)
    assert float(correct_sum(logits, jnp.array([0, IGNORED, 1, 0]))) == 2


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_gives_no_finite_loss(label: int):
    logits = jnp.zeros((2, 3))
    assert not jnp.isfinite(cross_entropy_sum(logits, jnp.array([0, label])))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.uint32, np.int64])
def test_labels_may_be_stored_in_few_bits(kind: type[np.generic]):
    """-100 is 156 where there is no sign, and 200 classes are more than 8 bits with one tell."""
    random = np.random.default_rng(0)
    logits = jnp.asarray(random.normal(size=(200, 200)), jnp.float32)
    labels = np.arange(200) % (128 if kind is np.int8 else 200)
    weights = random.uniform(0.5, 2.0, 200).astype(np.float32)
    wide = jnp.asarray(labels, jnp.int32)
    given = jnp.asarray(labels.astype(kind))
    for options in ((None, 0.0), (weights, 0.1)):
        found = weighted_cross_entropies(logits, given, *options)
        np.testing.assert_array_equal(found, weighted_cross_entropies(logits, wide, *options))
    assert float(label_count(given)) == 200


def test_a_task_without_its_losses_is_none():
    """What it does not say would be None, where the step looks for sums."""

    class Unfinished(Task):
        def loss_sums(self, output: Any, batch: Any) -> dict[str, jax.Array]:
            return {}

    with pytest.raises(TypeError, match=r"abstract methods '?head'?, '?loss_weights"):
        Unfinished()  # type: ignore[abstract]
