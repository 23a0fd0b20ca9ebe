"""Where pieces begin and end, counted over all shards of a store that each count from 0."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices

Shard = NDArray[np.unsignedinteger]
Side = Literal["left", "right"]


class Offsets:
    """Acts as one int64 array [pieces + 1]: piece i is offsets[i] to offsets[i + 1].

    `shards` are such arrays of each shard, from 0, often memory-mapped; they are not copied.
    """

    def __init__(self, shards: Sequence[Shard]):
        assert shards
        self.shards = tuple(shards)
        self.first_piece = _starts([len(shard) - 1 for shard in shards])
        self.first_value = _starts([int(shard[-1]) for shard in shards])

    def __len__(self) -> int:
        return int(self.first_piece[-1]) + 1

    def __getitem__(self, pieces: Indices) -> Indices:
        def look(shard: Shard, local: Indices) -> Shard:
            return shard[local]

        # The last offset of a shard is the first of the next one.
        return self._by_shard(pieces, self.first_piece, "right", look, self.first_value)

    def searchsorted(self, values: Indices, *, right: bool = False) -> Indices:
        """As `np.searchsorted`; values go from 0 to the last offset."""
        side: Side = "right" if right else "left"

        def look(shard: Shard, local: Indices) -> Indices:
            # In the array's own dtype: numpy would convert the array to the values'.
            return shard.searchsorted(local.astype(shard.dtype), side)

        return self._by_shard(values, self.first_value, side, look, self.first_piece)

    def _by_shard(
        self,
        numbers: Indices,
        firsts: Indices,
        side: Side,
        look: Callable[[Shard, Indices], NDArray[np.integer]],
        found_firsts: Indices,
    ) -> Indices:
        """What every shard finds for the numbers from its first one on, both counted from 0."""
        # Sorted, those of a shard are a slice: there may be a hundred shards.
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        other_side: Side = "left" if side == "right" else "right"
        ends = np.searchsorted(ascending, firsts[1:-1], side=other_side).tolist()
        edges = [0, *ends, len(numbers)]
        found = np.empty(len(numbers), np.int64)
        for place, (start, end) in enumerate(pairwise(edges)):
            if start < end:
                local = ascending[start:end] - firsts[place]
                found[start:end] = look(self.shards[place], local)
                found[start:end] += found_firsts[place]
        unsorted = np.empty_like(found)
        unsorted[order] = found
        return unsorted


def _starts(counts: Sequence[int]) -> Indices:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
