"""The documents of a corpus that are nearest to each query, without keeping their vectors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from jaxbert.experiment.predictor import chunks
from jaxbert.parallel.processes import of_all
from jaxbert.typing import Array

_QUERIES_AT_ONCE = 1024


@dataclass(frozen=True)
class Comparison:
    """How a model compares queries with documents."""

    queries: Callable[[Sequence[str]], Any]
    """What it makes of some queries, rows first."""
    documents: Callable[[Sequence[str]], Any]
    """What it makes of some documents, rows first."""
    scores: Callable[[Any, Any], Float[Array, "queries documents"]]
    """Of both, float32: the higher, the nearer."""
    above: float = -np.inf
    """Documents with a score that is not above it are not found."""


@dataclass(frozen=True)
class Ranking:
    """The nearest documents of a query, best first."""

    documents: NDArray[np.int64]
    """Numbers of documents in the order of the corpus."""
    scores: NDArray[np.float32]


def search(
    comparison: Comparison,
    queries: Sequence[str],
    documents: Iterable[str],
    left_out: Sequence[int],
    *,
    depth: int,
    at_once: int,
) -> list[Ranking]:
    """For every query the `depth` nearest documents; of equal ones the first in the corpus.

    `left_out`: of every query a document that is not searched for it; -1: none. Documents are
    compared `at_once` and forgotten. Several processes take turns with them, each on its own
    devices, and all get all rankings. A score that is no number is never among the nearest.
    """
    parts = [
        slice(first, first + _QUERIES_AT_ONCE) for first in range(0, len(queries), _QUERIES_AT_ONCE)
    ]
    known = [comparison.queries(queries[part]) for part in parts]
    barred = [np.asarray(left_out[part], np.int32) for part in parts]
    best = [_nothing(len(each), depth) for each in barred]
    first = 0
    for turn, some in enumerate(chunks(documents, at_once)):
        if turn % jax.process_count() == jax.process_index():
            made = comparison.documents(some)
            for number, each in enumerate(known):
                scores = comparison.scores(each, made)
                best[number] = _merged(
                    best[number], scores, barred[number], np.int32(first), comparison.above
                )
        first += len(some)
    return [ranking for each in best for ranking in _rankings(each)]


def _nothing(queries: int, depth: int) -> tuple[Array, Array]:
    return jnp.full((queries, depth), -jnp.inf), jnp.full((queries, depth), -1, jnp.int32)


@partial(jax.jit, donate_argnums=0)
def _merged(
    best: tuple[Float[Array, "queries depth"], Int[Array, "queries depth"]],
    scores: Float[Array, "queries documents"],
    barred: Int[Array, " queries"],
    first: Int[Array, ""],
    above: Float[Array, ""] | float,
) -> tuple[Array, Array]:
    """The best of what was known and of the documents from number `first` on."""
    numbers = first + jnp.arange(scores.shape[1], dtype=jnp.int32)
    is_allowed = (numbers[None] != barred[:, None]) & (scores > above)
    scores = jnp.where(is_allowed, scores, -jnp.inf)
    # The known ones stand first: of equal scores the earlier document stays.
    known, known_numbers = best
    both = jnp.concatenate([known, scores], axis=1)
    all_numbers = jnp.concatenate([known_numbers, jnp.broadcast_to(numbers, scores.shape)], axis=1)
    found, places = jax.lax.top_k(both, known.shape[1])
    return found, jnp.take_along_axis(all_numbers, places, axis=1)


def _rankings(best: tuple[Array, Array]) -> list[Ranking]:
    """Those of all processes, each of which knows its own documents alone."""
    scores, numbers = (np.asarray(each) for each in best)
    if jax.process_count() > 1:
        told = of_all({"scores": np.where(numbers < 0, 0, scores).tolist(), "of": numbers.tolist()})
        scores = np.concatenate([np.array(each["scores"], np.float32) for each in told], axis=1)
        numbers = np.concatenate([np.array(each["of"], np.int64) for each in told], axis=1)
    rankings = []
    for row, ids in zip(scores, numbers.astype(np.int64), strict=True):
        is_there = (ids >= 0) & np.isfinite(row)
        ids, row = ids[is_there], row[is_there]
        order = np.lexsort((ids, -row))[: best[0].shape[1]]
        rankings.append(Ranking(ids[order], row[order]))
    return rankings
