"""Texts in several windows: combined by hand, and weighed as one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.data.tables import Row
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.sequence_classification import ClassifiedSentences, SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.windowed import combine_windows

CLASSES = SequenceClassification(SingleLabel(("a", "b")))
REGRESSION = SequenceClassification(Regression())

LOGITS = np.array([[1.0, 2.0], [4.0, 0.0], [7.0, 1.0], [3.0, 5.0]], np.float32)
DOCUMENTS = np.array([0, 0, 0, 1], np.int32)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [[4.0, 1.0], [3.0, 5.0]]),
        ("max", [[7.0, 2.0], [3.0, 5.0]]),
        # (1 * 1 + 2 * 4 + 3 * 7) / 6 and (1 * 2 + 2 * 0 + 3 * 1) / 6
        ("last_weighted", [[5.0, 5 / 6], [3.0, 5.0]]),
    ],
)
def test_windows_of_a_text_become_one(how: Any, expected: Any):
    np.testing.assert_allclose(combine_windows(LOGITS, DOCUMENTS, how), expected)


def log_chances(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def batch(labels: np.ndarray, shape: tuple[int, ...]) -> dict[str, jax.Array]:
    """Weights of a document in three windows, of one in one, and a filler's."""
    weights = np.array([2 / 3, 2 / 3, 2 / 3, 2, 0], np.float32)
    row_ids = np.array([0, 1, 2, 3, -1], np.int32)
    arrays = {"labels": labels, "weights": weights, "row_ids": row_ids}
    return {name: jnp.asarray(values).reshape(shape) for name, values in arrays.items()}


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_the_loss_of_an_epoch_is_the_mean_over_texts_of_the_mean_over_windows(shape):
    logits = np.concatenate([LOGITS, [[9.0, -9.0]]]).astype(np.float32)
    labels = np.array([1, 1, 1, 0, -100], np.int32)
    output = ModelOutput(None, logits=jnp.asarray(logits).reshape(*shape, 2))
    found = batch(labels, shape)
    loss = CLASSES.loss_sums(output, found)["loss"] / CLASSES.loss_weights(found)["loss"]
    losses = -log_chances(logits[:4])[range(4), labels[:4]]
    np.testing.assert_allclose(loss, (losses[:3].mean() + losses[3]) / 2, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
@pytest.mark.parametrize("class_weights", [(10.0, 1.0), (1.0, 10.0)])
def test_with_class_weights_it_is_the_weighted_mean_over_texts(class_weights, shape):
    logits = np.concatenate([LOGITS, [[9.0, -9.0]]]).astype(np.float32)
    labels = np.array([1, 1, 1, 0, -100], np.int32)
    task = SequenceClassification(SingleLabel(("a", "b"), class_weights))
    output = ModelOutput(None, logits=jnp.asarray(logits).reshape(*shape, 2))
    found = batch(labels, shape)
    loss = task.loss_sums(output, found)["loss"] / task.loss_weights(found)["loss"]
    losses = -log_chances(logits[:4])[range(4), labels[:4]]
    texts = np.array([losses[:3].mean(), losses[3]])
    expected = np.average(texts, weights=[class_weights[1], class_weights[0]])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_squared_error_likewise():
    labels = np.array([0.5, 0.5, 0.5, 3.0, 0.0], np.float32)
    logits = np.concatenate([LOGITS[:, :1], [[9.0]]]).astype(np.float32)
    found = batch(labels, (5,))
    output = ModelOutput(None, logits=jnp.asarray(logits))
    loss = REGRESSION.loss_sums(output, found)["loss"] / REGRESSION.loss_weights(found)["loss"]
    errors = np.square(logits[:4, 0] - labels[:4])
    np.testing.assert_allclose(loss, (errors[:3].mean() + errors[3]) / 2, rtol=1e-6)


def judged(task: Any, logits: np.ndarray, labels: list[float], how: Any) -> dict[str, float]:
    reading = Reading(8, windows=WindowConfig(2, how))
    examples = ClassifiedSentences(
        task,
        Sentences((), task.columns_read),
        {"document_ids": DOCUMENTS},
        np.array(labels),
        reading,
    )
    return examples.metrics({"loss": 99.0}, {"row_ids": np.arange(4), "logits": logits})


def test_metrics_count_every_text_once():
    metrics = judged(CLASSES, LOGITS, [1, 1], "mean")
    assert metrics["accuracy"] == 0.5
    chances = log_chances(np.array([[4.0, 1.0], [3.0, 5.0]]))
    np.testing.assert_allclose(metrics["loss"], -chances[:, 1].mean())
    metrics = judged(REGRESSION, LOGITS[:, :1], [2.0, 2.0], "max")
    assert metrics["loss"] == (5.0**2 + 1.0**2) / 2


def test_metrics_of_some_windows_are_those_of_their_texts():
    reading = Reading(8, windows=WindowConfig(2))
    examples = ClassifiedSentences(
        CLASSES,
        Sentences((), CLASSES.columns_read),
        {"document_ids": DOCUMENTS},
        np.array([0, 1]),
        reading,
    )
    rows = {"row_ids": np.array([3]), "logits": LOGITS[3:]}
    assert examples.metrics({"loss": 99.0}, rows)["accuracy"] == 1.0


def test_mistakes_show_the_text_of_their_windows():
    texts = tuple(Row({"sentence": text}, "a.tsv", i) for i, text in enumerate(("one", "two"), 2))
    examples = ClassifiedSentences(
        CLASSES,
        Sentences(texts, CLASSES.columns_read),
        {"document_ids": DOCUMENTS},
        np.array([1, 0]),
        Reading(8, windows=WindowConfig(2)),
    )
    for first, expected in ((0, {"one", "two"}), (3, {"two"})):
        rows = {"row_ids": np.arange(first, 4), "logits": LOGITS[first:]}
        wrong = examples.tables(rows)[-1].rows
        assert {row[1] for row in wrong} == expected
        assert all(row[0] == f"a.tsv:{2 + (row[1] == 'two')}" for row in wrong)
