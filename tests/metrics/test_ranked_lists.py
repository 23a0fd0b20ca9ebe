"""Figures of rankings against scikit-learn and small answers."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from jaxbert.metrics.ranked_lists import figures_of


def test_whole_rankings_have_scikit_learns_figures():
    generator = np.random.default_rng(0)
    for _ in range(20):
        grades = generator.integers(0, 4, 12)
        grades[generator.integers(12)] = 2
        names = [f"d{number}" for number in range(12)]
        order = generator.permutation(12)
        judged = {name: int(grade) for name, grade in zip(names, grades, strict=True) if grade}
        found = figures_of({"q": [names[number] for number in order]}, {"q": judged})
        scores = np.empty(12)
        scores[order] = np.arange(12, 0, -1)
        assert found["ndcg_at_10"] == pytest.approx(ndcg_score([grades], [scores], k=10))
        assert found["map_at_100"] == pytest.approx(average_precision_score(grades > 0, scores))
        assert found["recall_at_100"] == 1.0


def test_what_is_not_found_counts():
    grades = {"a": {"x": 1, "gone": 1}, "b": {"y": 3}}
    found = figures_of({"a": ["z", "x"]}, grades)
    assert found["recall_at_10"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["mrr_at_10"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["map_at_100"] == pytest.approx((1 / 2 / 2 + 0) / 2)
    gain, ideal = 1 / np.log2(3), 1 + 1 / np.log2(3)
    assert found["ndcg_at_10"] == pytest.approx(gain / ideal / 2)


def test_only_the_first_ones_count():
    names = [f"d{number}" for number in range(30)]
    found = figures_of({"q": names}, {"q": {"d10": 1, "d3": 1}})
    assert found["recall_at_10"] == 0.5
    assert found["recall_at_100"] == 1.0
    assert found["mrr_at_10"] == 0.25
    assert figures_of({"q": names}, {"q": {"d10": 1}})["mrr_at_10"] == 0.0
