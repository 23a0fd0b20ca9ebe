"""Metrics of a whole evaluation against numpy, one row after the other, without padding."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from scipy import stats

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.reading import Reading
from jaxbert.data.rows import LabelledRows
from jaxbert.data.stream import evaluation_batches
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import shardings
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.sequence_classification import ClassifiedSentences, SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.training.evaluation import evaluate
from jaxbert.training.step import jit_evaluation_step, make_evaluation_step

ENCODER = EncoderConfig(
    vocab_size=50,
    hidden_size=16,
    # The classifier sees the first token of every row, which is all that counting needs.
    num_hidden_layers=0,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=16,
    initializer_range=0.5,
)
ROWS, LENGTH = 13, 16
BATCHES = [
    (devices, rows) for devices, sizes in ((1, (1, 3, 7, 8, 64)), (8, (8, 64))) for rows in sizes
]

Task = SequenceClassification
CLASSES, REGRESSION = Task(SingleLabel(("a", "b", "c"))), Task(Regression())


def features(task: Task) -> dict[str, object]:
    generator = np.random.default_rng(3)
    lengths = generator.choice([3, 5, LENGTH], ROWS)
    labels = generator.normal(size=ROWS).astype(np.float32)
    return {
        "input_ids": [generator.integers(5, 50, length).astype(np.int32) for length in lengths],
        "labels": labels if task is REGRESSION else generator.integers(0, 3, ROWS).astype(np.int32),
    }


@pytest.fixture(scope="module")
def logits() -> Callable[[Task], np.ndarray]:
    """Of every row alone, as long as it is: [rows, classes]."""

    def run(task: Task) -> np.ndarray:
        apply, params = make_apply(ENCODER, task.head), init_params(ENCODER, task.head, 0)
        apply = jax.jit(apply)
        rows = [
            apply(params, np.asarray(ids)[None]).logits[0] for ids in features(task)["input_ids"]
        ]
        return np.stack(rows).astype(np.float64)

    found = {task: run(task) for task in (CLASSES, REGRESSION)}
    return lambda task: found[task]


def evaluated(
    task: Task, devices: int, rows: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    mesh = make_mesh(MeshConfig(), jax.devices()[:devices])
    params = init_params(ENCODER, task.head, 0)
    params = jax.device_put(params, shardings(params, mesh))
    step = jit_evaluation_step(
        make_evaluation_step(make_apply(ENCODER, task.head), task), params, mesh
    )
    data = LabelledRows(EncodedExamples(features(task), pad_id=0), seed=0, length=LENGTH)
    examples = ClassifiedSentences(
        task, Sentences((), task.columns_read), {}, features(task)["labels"], Reading(LENGTH)
    )
    found: dict[str, np.ndarray] = {}

    def metrics(means: dict[str, float], rows: dict[str, np.ndarray]) -> dict[str, float]:
        found.update(rows)
        return examples.metrics(means, rows)

    return evaluate(step, params, evaluation_batches(data, rows), metrics, mesh), found


@pytest.mark.parametrize(("devices", "rows"), BATCHES)
def test_every_row_of_a_classification_counts_once(logits, devices, rows):
    metrics, outputs = evaluated(CLASSES, devices, rows)
    labels, expected = features(CLASSES)["labels"], logits(CLASSES)
    predicted = expected.argmax(axis=-1)
    normalised = expected - np.log(np.exp(expected).sum(axis=-1, keepdims=True))
    by_class = [
        2
        * np.sum((predicted == c) & (labels == c))
        / (np.sum(predicted == c) + np.sum(labels == c))
        for c in range(3)
    ]
    one_hot = np.eye(3)
    covariance = np.cov(one_hot[labels].T, one_hot[predicted].T, bias=True)
    cross, true, guessed = (
        np.trace(covariance[a, b])
        for a, b in ((slice(3), slice(3, 6)), (slice(3), slice(3)), (slice(3, 6), slice(3, 6)))
    )
    assert metrics["accuracy"] == np.mean(predicted == labels)
    assert 0 < metrics["accuracy"] < 1
    np.testing.assert_allclose(metrics["loss"], -normalised[range(ROWS), labels].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["f1"], np.mean(by_class), rtol=1e-12)
    correlation = cross / np.sqrt(true * guessed)
    np.testing.assert_allclose(metrics["matthews_correlation"], correlation, rtol=1e-9)
    np.testing.assert_array_equal(outputs["row_ids"], np.arange(ROWS))
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)


@pytest.mark.parametrize(("devices", "rows"), BATCHES)
def test_every_row_of_a_regression_counts_once(logits, devices, rows):
    metrics, outputs = evaluated(REGRESSION, devices, rows)
    labels, expected = features(REGRESSION)["labels"].astype(np.float64), logits(REGRESSION)[:, 0]
    np.testing.assert_allclose(metrics["loss"], np.mean((expected - labels) ** 2), rtol=1e-5)
    pearson = np.corrcoef(labels, expected)[0, 1]
    np.testing.assert_allclose(metrics["pearson"], pearson, atol=1e-6)
    spearman = stats.spearmanr(labels, expected).statistic
    np.testing.assert_allclose(metrics["spearman"], spearman, rtol=1e-9)
    np.testing.assert_array_equal(outputs["row_ids"], np.arange(ROWS))
