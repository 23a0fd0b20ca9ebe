"""The order in which training visits examples: random access into an endless shuffled stream."""

from functools import lru_cache

import numpy as np
from grain.experimental import index_shuffle
from numpy.typing import NDArray

from jaxbert.data.draws import hashed

_MAX_LENGTH = 2**32 - 1


@lru_cache(maxsize=64)
def _epoch_seed(seed: int, epoch: int) -> int:
    # Hashed, because index_shuffle takes 32 bits and seed + epoch would make epoch 1 of seed 0
    # the same order as epoch 0 of seed 1.
    return hashed(seed, f"order of epoch {epoch}", 4)


def visit(
    seed: int, num_examples: int, start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Says which examples the stream holds at positions [start, stop): their epochs and indices.

    Every epoch is a permutation of [0, num_examples), computed per position by grain's
    `index_shuffle`, so nothing of the size of the corpus is held and any position is a seek.
    """
    assert 0 < num_examples <= _MAX_LENGTH, num_examples
    assert 0 <= start <= stop, (start, stop)
    epochs, positions = np.divmod(np.arange(start, stop, dtype=np.int64), num_examples)
    indices = [
        index_shuffle(position, max_index=num_examples - 1, seed=_epoch_seed(seed, epoch), rounds=4)
        for epoch, position in zip(epochs.tolist(), positions.tolist(), strict=True)
    ]
    return epochs, np.array(indices, dtype=np.int64)
