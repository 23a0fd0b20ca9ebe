"""How well documents answer queries of several vectors each (Khattab and Zaharia 2020)."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = Sequence[NDArray[np.floating]]
"""Of every text [tokens, dimensions]."""

_PRODUCTS_AT_ONCE = 1 << 24


def max_sims(queries: Vectors, documents: Vectors) -> Iterator[NDArray[np.float32]]:
    """Blocks [some queries, documents]: the sum over a query's tokens of the largest product.

    A block holds as many queries as have 64 MiB of products with some of the documents.
    """
    parts = list(_blocks([len(each) for each in documents], _PRODUCTS_AT_ONCE >> 7))
    widest = max((sum(len(each) for each in documents[part]) for part in parts), default=1)
    for some in _blocks([len(each) for each in queries], _PRODUCTS_AT_ONCE // widest):
        tokens = np.concatenate([np.asarray(each, np.float32) for each in queries[some]])
        scores = [_of_block(tokens, queries[some], documents[part]) for part in parts]
        yield np.concatenate(scores, axis=1)


def _of_block(
    tokens: NDArray[np.float32], queries: Vectors, documents: Vectors
) -> NDArray[np.float32]:
    scores = np.zeros((len(queries), len(documents)), np.float32)
    # Of texts without a token there is nothing to reduce: they score 0.
    some, others = ([n for n, each in enumerate(of) if len(each)] for of in (queries, documents))
    if some and others:
        filled = [np.asarray(documents[n], np.float32) for n in others]
        products = tokens @ np.concatenate(filled).T
        largest = np.maximum.reduceat(products, _starts(filled), axis=1)
        sums = np.add.reduceat(largest, _starts([queries[n] for n in some]), axis=0)
        scores[np.ix_(some, others)] = sums
    return scores


def _starts(texts: Vectors) -> list[int]:
    return np.cumsum([0, *(len(each) for each in texts[:-1])]).tolist()


def _blocks(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """Runs of texts of at most so many tokens together, but of one text at least."""
    first, total = 0, 0
    for number, length in enumerate(lengths):
        if number > first and total + length > most:
            yield slice(first, number)
            first, total = number, 0
        total += length
    if first < len(lengths):
        yield slice(first, len(lengths))
