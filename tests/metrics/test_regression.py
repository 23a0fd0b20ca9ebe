import numpy as np
import pytest

from jaxbert.metrics.regression import (
    pearson_correlation,
    spearman_correlation,
)


def drawn(num_rows=300):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 11, num_rows) / 2
    return labels, labels + generator.normal(size=num_rows)


def mean_ranks(values):
    """Rank of every value, ties sharing the mean of their places."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def test_correlations_equal_their_definitions():
    labels, predictions = drawn()
    expected = np.corrcoef(labels, predictions)[0, 1]
    assert pearson_correlation(labels, predictions) == pytest.approx(expected)
    expected = np.corrcoef(mean_ranks(labels), mean_ranks(predictions))[0, 1]
    assert spearman_correlation(labels, predictions) == pytest.approx(expected)


def test_spearman_sees_only_the_order():
    labels, predictions = drawn()
    assert spearman_correlation(labels, np.exp(predictions)) == pytest.approx(
        spearman_correlation(labels, predictions)
    )
    assert spearman_correlation(labels, labels**3) == pytest.approx(1.0)


def test_float32_inputs_are_summed_in_float64():
    labels = np.arange(1_000, dtype=np.float32) + 1e6
    assert pearson_correlation(labels, -labels.astype(np.float32)) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [([], []), ([1.0], [2.0]), ([1.0, 2.0], [3.0, 3.0]), ([0.1 + 0.2, 0.3, 0.3], [1.0, 2.0, 3.0])],
)
def test_without_variation_correlations_are_zero_and_nothing_warns(labels, predictions):
    labels, predictions = np.array(labels), np.array(predictions)
    assert pearson_correlation(labels, predictions) == 0.0
    assert spearman_correlation(labels, predictions) == 0.0
