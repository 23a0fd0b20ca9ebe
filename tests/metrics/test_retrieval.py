import math

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from jaxbert.metrics.retrieval import (
    average_precision,
    cosines,
    mean_reciprocal_rank,
    ndcg_at,
    ranks_by_group,
    ranks_of_relevant,
    recall_at,
)


def by_definition(queries, documents, relevant):
    """Ranks from a sorted list for every query; among equals what is not relevant comes first."""
    ranks = []
    for query, numbers in zip(queries, relevant, strict=True):
        scores = [float(query @ d / (np.linalg.norm(query) * np.linalg.norm(d))) for d in documents]
        order = sorted(range(len(documents)), key=lambda i: (-round(scores[i], 9), i in numbers))
        ranks.append([place for place, number in enumerate(order, 1) if number in numbers])
    return ranks


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("num_queries", [1, 300])
def test_ranks_mrr_and_recall_equal_their_definitions(has_ties, num_queries):
    draws = np.random.default_rng(num_queries)

    def drawn(count):
        if has_ties:
            return np.eye(4)[draws.integers(0, 4, count)] * draws.integers(1, 5, (count, 1))
        return draws.normal(size=(count, 5))

    queries, documents = drawn(num_queries), drawn(23)
    relevant = [draws.permutation(23)[: draws.integers(1, 5)].tolist() for _ in queries]
    expected = by_definition(queries, documents, relevant)
    found = ranks_of_relevant(queries, documents, relevant)
    assert [ranks.tolist() for ranks in found] == expected
    mrr = np.mean([1 / ranks[0] for ranks in expected])
    assert mean_reciprocal_rank(found) == pytest.approx(mrr, abs=1e-15)
    for k in (1, 3, 10):
        recall = np.mean([sum(rank <= k for rank in ranks) / len(ranks) for ranks in expected])
        assert recall_at(found, k) == pytest.approx(recall, abs=1e-15)


def test_gains_and_precisions_are_scikit_learns():
    draws = np.random.default_rng(0)
    scores, relevant = draws.normal(size=(7, 30)), draws.random((7, 30)) < 0.4
    groups = np.repeat([f"query {number}" for number in range(7)], 30)
    order = draws.permutation(7 * 30)
    ranks = ranks_by_group(groups[order].tolist(), scores.ravel()[order], relevant.ravel()[order])
    for k in (1, 3, 10, 40):
        expected = ndcg_score(relevant.astype(float), scores, k=k)
        assert ndcg_at(ranks, k) == pytest.approx(expected, abs=1e-12)
    expected = label_ranking_average_precision_score(relevant, scores)
    assert average_precision(ranks) == pytest.approx(expected, abs=1e-12)


def test_a_group_is_ranked_by_itself_and_one_without_a_relevant_row_is_left_out():
    groups = ["a", "b", "a", "c", "b", "a"]
    scores = np.array([0.1, 5.0, 0.3, 9.0, 7.0, 0.3])
    relevant = np.array([True, True, False, False, False, True])
    found = ranks_by_group(groups, scores, relevant)
    assert [ranks.tolist() for ranks in found] == [[2, 3], [2]], "an equal one goes behind"
    assert (average_precision([]), ndcg_at([], 10)) == (0.0, 0.0)


def test_vectors_that_are_all_the_same_find_nothing():
    found = ranks_of_relevant(np.ones((2, 3)), np.ones((5, 3)), [[0], [1, 4]])
    assert [ranks.tolist() for ranks in found] == [[5], [4, 5]]
    assert (mean_reciprocal_rank(found), recall_at(found, 3)) == ((1 / 5 + 1 / 4) / 2, 0.0)


def test_vectors_that_are_no_numbers_find_nothing():
    found = ranks_of_relevant(np.full((2, 3), np.nan), np.ones((5, 3)), [[0], [1, 4]])
    assert [ranks.tolist() for ranks in found] == [[5], [4, 5]]
    documents = np.eye(5)
    documents[0] = np.nan
    found = ranks_of_relevant(np.eye(5)[:2], documents, [[0], [1]])
    assert [ranks.tolist() for ranks in found] == [[5], [2]]


def test_what_is_left_out_goes_before_nothing():
    queries = documents = np.eye(3) + 0.1
    found = ranks_of_relevant(queries, documents, [[1], [1], [0, 1]], [[0], [], [2]])
    assert [ranks.tolist() for ranks in found] == [[2], [1], [1, 2]]


def test_nothing_to_find_is_zero():
    assert (mean_reciprocal_rank([]), recall_at([], 1)) == (0.0, 0.0)


def test_the_cosine_of_nothing_is_zero():
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[6.0, 8.0], [1.0, 0.0]])
    np.testing.assert_allclose(cosines(a, b), [1.0, 0.0])


def test_cosines_of_float32_vectors_are_computed_in_float64():
    def dot(x: list[float], y: list[float]) -> float:
        return math.fsum(i * j for i, j in zip(x, y, strict=True))

    a, b = np.random.default_rng(0).normal(size=(2, 50, 768)).astype(np.float32)
    exact = [
        dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    np.testing.assert_allclose(cosines(a, b), exact, rtol=0, atol=1e-14)
