"""Where pieces begin and end, counted over all shards of a store that each count from 0."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Offsets:
    """Acts as one int64 array [pieces + 1]: piece i is offsets[i] to offsets[i + 1].

    `shards` are such arrays of each shard, from 0, often memory-mapped; they are not copied.
    """

    def __init__(self, shards: Sequence[NDArray[np.unsignedinteger]]):
        assert shards
        self.shards = tuple(shards)
        self.first_piece = _starts([len(shard) - 1 for shard in shards])
        self.first_value = _starts([int(shard[-1]) for shard in shards])

    def __len__(self) -> int:
        return int(self.first_piece[-1]) + 1

    def __getitem__(self, pieces: Indices) -> Indices:
        if len(self.shards) == 1:
            return self.shards[0][pieces].astype(np.int64)
        # The last offset of a shard is the first of the next one.
        owners = np.searchsorted(self.first_piece[1:-1], pieces, side="right")
        found = np.empty(np.shape(pieces), np.int64)
        for shard in np.unique(owners):
            here = owners == shard
            local = pieces[here] - self.first_piece[shard]
            found[here] = self.shards[shard][local] + self.first_value[shard]
        return found

    def searchsorted(self, values: Indices, *, right: bool = False) -> Indices:
        """As `np.searchsorted`; values go from 0 to the last offset."""
        side: Literal["left", "right"] = "right" if right else "left"
        if len(self.shards) == 1:
            return np.searchsorted(self.shards[0], values.astype(self.shards[0].dtype), side=side)
        owners = np.searchsorted(self.first_value[1:-1], values, side=side)
        found = np.empty(np.shape(values), np.int64)
        for shard in np.unique(owners):
            here, part = owners == shard, self.shards[shard]
            # In the array's own dtype: numpy would convert the array to the values'.
            local = (values[here] - self.first_value[shard]).astype(part.dtype)
            found[here] = np.searchsorted(part, local, side=side) + self.first_piece[shard]
        return found


def _starts(counts: Sequence[int]) -> Indices:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
