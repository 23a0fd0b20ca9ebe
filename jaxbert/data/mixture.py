"""Several streams of rows mixed by weight, with random access."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxbert.data.arrays import Batch, Indices, Marks
from jaxbert.data.order import visit
from jaxbert.data.stream import Rows

BLOCK = 1 << 16
"""Rows in which every source has exactly its share, rounded to whole rows."""


class Mixture:
    """Rows of several sources, of each a share that goes by `weights`.

    The stream is cut into blocks. In each a permutation of its own says which of its places belong
    to which source, so that how many rows of a source came before a block is known without
    counting, and a source's own stream is followed without gaps.
    """

    def __init__(self, sources: Sequence[Rows], weights: Sequence[float], seed: int):
        assert len(sources) == len(weights) > 0
        self.sources, self.seed = tuple(sources), seed
        self.quotas = shares(weights, BLOCK)
        self._first_place = np.cumsum(self.quotas) - self.quotas
        evaluated = [source.num_evaluation_rows for source in sources]
        self._evaluation_ends = np.cumsum(evaluated)

    @property
    def num_rows(self) -> int:
        """Rows that hold as many of every source as it has; of some sources more, by its weight."""
        sizes = np.array([source.num_rows for source in self.sources])
        return int(np.max(-(-sizes * BLOCK // self.quotas)))

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the stream."""
        blocks, places = visit(self.seed, BLOCK, positions)
        owners = np.searchsorted(self._first_place, places, side="right") - 1
        own = blocks * self.quotas[owners] + places - self._first_place[owners]
        return _gathered(
            owners, lambda source, chosen: self.sources[source].rows(own[chosen], step)
        )

    @property
    def num_evaluation_rows(self) -> int:
        """Rows of all sources."""
        return int(self._evaluation_ends[-1])

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """Rows of the first source, then of the next; what counts for nothing is of the first."""
        owners = np.searchsorted(self._evaluation_ends, numbers, side="right")
        before = np.concatenate([np.zeros(1, np.int64), self._evaluation_ends[:-1]])
        own = np.where(numbers < 0, -1, numbers - before[owners])
        return _gathered(
            owners, lambda source, chosen: self.sources[source].evaluation_rows(own[chosen])
        )


def _gathered(owners: Indices, rows_of: Callable[[int, Marks], Batch]) -> Batch:
    """The rows of several sources in the places that belong to them."""
    gathered: Batch = {}
    for source in np.unique(owners).tolist():
        chosen = owners == source
        for name, values in rows_of(source, chosen).items():
            whole = gathered.setdefault(
                name, np.empty((len(owners), *values.shape[1:]), values.dtype)
            )
            whole[chosen] = values
    return gathered


def shares(weights: Sequence[float], total: int) -> Indices:
    """Whole numbers that add up to `total`, as near to the weights as can be, none of them 0.

    What rounding down leaves over goes to the largest remainders.
    """
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    whole = np.maximum(np.floor(exact).astype(np.int64), 1)
    order = np.argsort(whole - exact, kind="stable")
    left = total - int(whole.sum())
    whole[order[: max(left, 0)]] += 1
    whole[np.argmax(whole)] += min(left, 0)
    return whole
