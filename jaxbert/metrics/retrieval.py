"""Retrieval: how near the top of a ranking the right documents are."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
Ranks = Sequence[NDArray[np.integer]]

_QUERIES_AT_ONCE = 256


def ranks_of_relevant(
    queries: Vectors,
    documents: Vectors,
    relevant: Sequence[Sequence[int]],
    left_out: Sequence[Sequence[int]] | None = None,
) -> list[NDArray[np.int64]]:
    """Ranks from 1 on, ascending, of every query's relevant documents among all by cosine.

    `relevant` are numbers of documents, each once; `left_out` those that are not searched for a
    query, such as its own text, and none of which is relevant to it. What is not relevant goes
    before what is where both are as near, so that vectors that are all the same find nothing, nor
    those that are no numbers.
    """
    queries, documents = unit(queries), unit(documents)
    return _ranked(lambda some: queries[some] @ documents.T, relevant, left_out)


def ranks_by_product(
    queries: scipy.sparse.csr_array,
    documents: scipy.sparse.csr_array,
    relevant: Sequence[Sequence[int]],
    left_out: Sequence[Sequence[int]] | None = None,
) -> list[NDArray[np.int64]]:
    """As `ranks_of_relevant` of sparse vectors [rows, features], by dot product."""
    documents = documents.astype(np.float64)
    return _ranked(
        lambda some: (documents @ queries[some].toarray().T.astype(np.float64)).T,
        relevant,
        left_out,
    )


def ranks_by_scores(
    blocks: Iterable[NDArray[np.floating]],
    relevant: Sequence[Sequence[int]],
    left_out: Sequence[Sequence[int]],
) -> list[NDArray[np.int64]]:
    """The same by scores that are there: blocks [some queries, documents], one after another."""
    rows = (row for block in blocks for row in block)
    return [
        _ranks(row, np.asarray(wanted, np.int64), np.asarray(others, np.int64))
        for row, wanted, others in zip(rows, relevant, left_out, strict=True)
    ]


def _ranked(
    scores_of: Callable[[slice], NDArray[np.float64]],
    relevant: Sequence[Sequence[int]],
    left_out: Sequence[Sequence[int]] | None,
) -> list[NDArray[np.int64]]:
    """By the scores [queries, documents] of some queries at a time."""
    firsts = range(0, len(relevant), _QUERIES_AT_ONCE)
    blocks = (scores_of(slice(first, first + _QUERIES_AT_ONCE)) for first in firsts)
    return ranks_by_scores(blocks, relevant, [()] * len(relevant) if left_out is None else left_out)


def mean_reciprocal_rank(ranks: Ranks) -> float:
    """Mean over queries of 1 / rank of the first relevant document; 0.0 for no queries."""
    return float(np.mean([1 / found[0] for found in ranks])) if len(ranks) else 0.0


def recall_at(ranks: Ranks, k: int) -> float:
    """Mean over queries of the share of relevant documents among the first k."""
    return float(np.mean([np.mean(found <= k) for found in ranks])) if len(ranks) else 0.0


def average_precision(ranks: Ranks) -> float:
    """Mean over queries of the mean over relevant documents of the precision up to each."""
    found = [np.mean(np.arange(1, len(each) + 1) / each) for each in ranks]
    return float(np.mean(found)) if found else 0.0


def ndcg_at(ranks: Ranks, k: int) -> float:
    """Mean over queries of the discounted cumulative gain of the first k, over what it could be.

    Järvelin and Kekäläinen 2002, with the discount log2(rank + 1); a document is relevant or not.
    """
    found = [_gain(each[each <= k]) / _gain(np.arange(1, min(k, len(each)) + 1)) for each in ranks]
    return float(np.mean(found)) if found else 0.0


def ranks_by_group(
    groups: Sequence[str], scores: NDArray[np.floating], is_relevant: NDArray[np.bool_]
) -> list[NDArray[np.int64]]:
    """Ranks of the relevant rows of every group, as `ranks_of_relevant`, by the rows' own scores.

    A group without any is left out.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    found = []
    for rows in members.values():
        wanted = np.flatnonzero(is_relevant[rows])
        if wanted.size:
            found.append(_ranks(np.asarray(scores[rows], np.float64), wanted, wanted[:0]))
    return found


def _gain(ranks: NDArray[np.integer]) -> float:
    return float(np.sum(1 / np.log2(ranks + 1.0)))


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """float64 [rows] of two [rows, features]; 0.0 for a vector that is zero."""
    return np.sum(unit(a) * unit(b), axis=-1)


def unit(vectors: Vectors) -> NDArray[np.float64]:
    """Of length 1, in float64; a vector that is zero stays so."""
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _ranks(
    scores: NDArray[np.floating], relevant: NDArray[np.int64], left_out: NDArray[np.int64]
) -> NDArray[np.int64]:
    others = np.delete(scores, np.concatenate([relevant, left_out]))
    best_first = np.sort(scores[relevant])[::-1]
    before = np.count_nonzero(~(others < best_first[:, None]), axis=1)
    return before + np.arange(1, len(relevant) + 1)
