"""Thresholds of labels against a search through all that part the rows differently."""

from itertools import pairwise

import numpy as np
import pytest

from jaxbert.metrics.thresholds import best_thresholds


def f1_score(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))


def all_thresholds(probabilities: np.ndarray) -> list[float]:
    """One for every way to part the rows: 0.5 where it does, else halfway, the last above 0."""
    values = [0.0, *np.unique(probabilities).tolist()]
    return [0.5 if low < 0.5 <= high else (low + high) / 2 for low, high in pairwise(values)]


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_no_threshold_has_a_better_f1_nor_is_as_good_and_nearer_to_a_half(digits: int):
    generator = np.random.default_rng(digits)
    several = 0
    for rows in generator.integers(1, 12, 200):
        labels = generator.random((rows, 2)) < 0.4
        # Few digits: many rows of one probability, and many thresholds of one F1.
        probabilities = np.round(0.8 * generator.random((rows, 2)) + 0.1, digits)
        for truth, column, found in zip(
            labels.T, probabilities.T, best_thresholds(labels, probabilities), strict=True
        ):
            if not truth.any():
                assert found == 0.5
                continue
            choices = all_thresholds(column)
            scores = [f1_score(truth, column >= choice) for choice in choices]
            best = [c for c, score in zip(choices, scores, strict=True) if score >= max(scores)]
            assert f1_score(truth, column >= found) == max(scores)
            assert np.abs(np.array(choices) - found).min() < 1e-12
            assert abs(found - 0.5) == pytest.approx(min(abs(choice - 0.5) for choice in best))
            several += len(best) > 1
    assert several > 10


def test_probabilities_that_are_neighbours_are_parted_too():
    low = 0.7
    high = np.nextafter(low, 1.0)
    labels, probabilities = np.array([[False], [True]]), np.array([[low], [high]])
    [found] = best_thresholds(labels, probabilities)
    assert (probabilities[:, 0] >= found).tolist() == [False, True]
