"""Rankings of a corpus against graded judgements, with the formulas of trec_eval."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Grades = NDArray[np.integer]


def figures_of(
    rankings: Mapping[str, Sequence[str]], grades: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """Means over the judged queries; a query without a ranking has found nothing.

    `ndcg_at_10` (the gain is the grade), `mrr_at_10`, `map_at_100`, `recall_at_10`, `_100` and
    `_1000`. A document counts as relevant from grade 1 on, one that is not judged as 0, and one
    that the corpus has not as one that is never found.
    """
    sums = dict.fromkeys(("ndcg_at_10", "mrr_at_10", "map_at_100"), 0.0)
    sums |= {f"recall_at_{k}": 0.0 for k in (10, 100, 1000)}
    for query, judged in grades.items():
        found = np.array([judged.get(name, 0) for name in rankings.get(query, ())], np.int64)
        ideal = np.sort([grade for grade in judged.values() if grade > 0])[::-1]
        sums["ndcg_at_10"] += ndcg(found, ideal, 10)
        sums["mrr_at_10"] += reciprocal_rank(found[:10])
        sums["map_at_100"] += average_precision(found[:100], len(ideal))
        for k in (10, 100, 1000):
            sums[f"recall_at_{k}"] += np.count_nonzero(found[:k] > 0) / len(ideal)
    return {name: float(total) / len(grades) for name, total in sums.items()}


def ndcg(found: Grades, ideal: Grades, k: int) -> float:
    """Discounted cumulative gain of the first k, over that of the `ideal` order."""
    return _gain(found[:k]) / _gain(ideal[:k])


def reciprocal_rank(found: Grades) -> float:
    """1 / rank of the first relevant document; 0.0 without one."""
    ranks = np.flatnonzero(found > 0)
    return 1 / (int(ranks[0]) + 1) if ranks.size else 0.0


def average_precision(found: Grades, num_relevant: int) -> float:
    """Sum over the relevant documents found of the precision up to each, over all there are."""
    ranks = np.flatnonzero(found > 0) + 1
    return float(np.sum(np.arange(1, len(ranks) + 1) / ranks)) / num_relevant


def _gain(grades: Grades) -> float:
    return float(np.sum(grades / np.log2(np.arange(2, len(grades) + 2))))
