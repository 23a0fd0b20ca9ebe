import numpy as np
import pytest

from jaxbert.metrics.classification import accuracy, f1, matthews_correlation


def f1_of_class(labels, predictions, positive):
    hits = np.sum((labels == positive) & (predictions == positive))
    wrong = np.sum((labels == positive) != (predictions == positive))
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def drawn(num_classes, num_rows=200):
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, num_rows)
    noise = generator.integers(0, num_classes, num_rows)
    return labels, np.where(generator.random(num_rows) < 0.5, labels, noise)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_accuracy_is_the_share_of_equal_rows(num_classes):
    labels, predictions = drawn(num_classes)
    assert accuracy(labels, predictions) == pytest.approx(np.mean(labels == predictions))


def test_f1_of_two_classes_is_that_of_class_1():
    labels, predictions = drawn(2)
    assert f1(labels, predictions, 2) == pytest.approx(f1_of_class(labels, predictions, 1))


def test_f1_of_many_classes_is_the_mean_over_those_that_occur():
    labels, predictions = drawn(5)
    expected = np.mean([f1_of_class(labels, predictions, c) for c in range(5)])
    assert f1(labels, predictions, 5) == pytest.approx(expected)
    assert f1(labels, predictions, 9) == pytest.approx(expected)


def test_matthews_correlation_of_two_classes_is_the_correlation_of_the_indicators():
    labels, predictions = drawn(2)
    expected = np.corrcoef(labels, predictions)[0, 1]
    assert matthews_correlation(labels, predictions) == pytest.approx(expected)


def test_perfect_predictions_score_one():
    labels, _ = drawn(4)
    assert accuracy(labels, labels) == 1.0
    assert f1(labels, labels, 4) == pytest.approx(1.0)
    assert matthews_correlation(labels, labels) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("labels", "predictions", "scores"),
    [
        ([], [], (0.0, 0.0, 0.0)),
        ([0, 0, 0], [0, 0, 0], (1.0, 0.0, 0.0)),
        ([1, 1], [1, 1], (1.0, 1.0, 0.0)),
        ([0, 1, 0, 1], [0, 0, 0, 0], (0.5, 0.0, 0.0)),
        ([0, 0], [1, 1], (0.0, 0.0, 0.0)),
    ],
)
def test_degenerate_inputs_have_a_value_and_no_warning(labels, predictions, scores):
    labels, predictions = np.array(labels, int), np.array(predictions, int)
    found = (
        accuracy(labels, predictions),
        f1(labels, predictions, 2),
        matthews_correlation(labels, predictions),
    )
    assert found == pytest.approx(scores)
