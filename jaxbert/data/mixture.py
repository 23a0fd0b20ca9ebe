"""Several streams of rows mixed by weight, with random access."""

from collections.abc import Callable, Sequence
from copy import copy
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Batch, Indices, Marks
from jaxbert.data.order import visit
from jaxbert.data.stream import Rows

BLOCK = 1 << 16
"""Rows in which every source has exactly its share, rounded to whole rows."""


class Mixture:
    """Rows of several sources, of each a share that goes by `weights`.

    The stream is cut into blocks. In each a permutation of its own says which of its places belong
    to which source, so that how many rows of a source came before a block is known without
    counting. A source's own stream is followed in its order, from its first row or from where
    `after` says: so a mixture by other weights goes on where this one has come to.
    """

    def __init__(self, sources: Sequence[Rows], weights: Sequence[float], seed: int):
        assert len(sources) == len(weights) > 0
        self.sources, self.seed = tuple(sources), seed
        self.quotas = shares(weights, BLOCK)
        self.begun: Indices = np.zeros(len(sources), np.int64)
        evaluated = [source.num_evaluation_rows for source in sources]
        self._evaluation_ends = np.cumsum(evaluated)

    @property
    def num_rows(self) -> int:
        """Rows that hold as many of every source as it has; of some sources more, by its weight.

        Sources of weight 0 do not count.
        """
        sizes = np.array([source.num_rows for source in self.sources])
        mixed = self.quotas > 0
        return int(np.max(-(-sizes[mixed] * BLOCK // self.quotas[mixed])))

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the stream."""
        blocks, places = positions // BLOCK, positions % BLOCK
        owners, own = np.empty_like(positions), np.empty_like(positions)
        for block in np.unique(blocks).tolist():
            chosen = blocks == block
            of_block, before = self._block(block)
            owners[chosen], own[chosen] = of_block[places[chosen]], before[places[chosen]]
        own += self.begun[owners] + blocks * self.quotas[owners]
        return _gathered(
            owners, lambda source, chosen: self.sources[source].rows(own[chosen], step)
        )

    def begun_at(self, position: int) -> Indices:
        """How many rows of each source come before a position of the stream: int64 [sources]."""
        block, place = divmod(position, BLOCK)
        owners = self._block(block)[0][:place]
        counted = np.bincount(owners, minlength=len(self.sources))
        return self.begun + block * self.quotas + counted

    def after(self, begun: Indices) -> "Mixture":
        """The same mixture of what comes after so many rows of each source: int64 [sources]."""
        other = copy(self)
        other.begun = begun
        return other

    def _block(self, block: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return _block(self.seed, tuple(self.quotas.tolist()), block)

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


@lru_cache(maxsize=8)
def _block(
    seed: int, quotas: tuple[int, ...], block: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Of every place in a block its source, and how many places of that one come before it.

    int32 [BLOCK] both; batches that follow each other ask for the same block.
    """
    _, drawn = visit(seed, BLOCK, block * BLOCK + np.arange(BLOCK))
    owners = np.searchsorted(np.cumsum(quotas), drawn, side="right").astype(np.int32)
    before = np.empty_like(owners)
    for source, quota in enumerate(quotas):
        before[owners == source] = np.arange(quota, dtype=np.int32)
    return owners, before


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
    """Whole numbers that add up to `total`, as near to the weights as can be; 0 for a weight of 0.

    What rounding down leaves over goes to the largest remainders.
    """
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    whole = np.maximum(np.floor(exact).astype(np.int64), exact > 0)
    order = np.argsort(whole - exact, kind="stable")
    left = total - int(whole.sum())
    whole[order[: max(left, 0)]] += 1
    whole[np.argmax(whole)] += min(left, 0)
    return whole
