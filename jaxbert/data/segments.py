"""Documents cut into examples of one segment, so that an epoch shows every token exactly once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.draws import below, uniforms
from jaxbert.data.masking import IGNORED
from jaxbert.data.pairs import Pairs, drawn_lengths
from jaxbert.data.spans import Indices

# Which lengths there are is decided before any seed is looked at, so that rows can be planned.
_SEED = 0


@dataclass(frozen=True)
class Segments:
    """The lengths that every document is cut into, which in every epoch begin with another one.

    `starts` [segments] is where each begins as they were cut, in tokens of the store, and `sizes`
    [segments] how many it has; `first` [documents + 1] is the first segment of every document. In
    an epoch a document has its segments in the same circle, begun at a random one: the cuts
    move, lengths stay, and none is cut in two.
    """

    starts: Indices
    sizes: NDArray[np.int32]
    first: Indices

    def __len__(self) -> int:
        return len(self.starts)

    def drawn(self, epochs: Indices, indices: Indices, *, seed: int) -> Pairs:
        """Where some segments lie in some epochs; there is no second part."""
        documents = np.searchsorted(self.first, indices, side="right") - 1
        head, stop = self.first[documents], self.first[documents + 1]
        uniform = uniforms(seed, "first segments", epochs, documents, 1)[:, 0]
        begin, last = self.starts[head], stop - 1
        num_tokens = self.starts[last] + self.sizes[last] - begin
        turned = self.starts[indices] - self.starts[head + below(uniform, stop - head)]
        none = np.zeros_like(begin)
        return Pairs(
            a_start=begin + turned % num_tokens,
            a_length=self.sizes[indices].astype(np.int64),
            b_start=none,
            b_length=none,
            label=np.full_like(begin, IGNORED),
        )


def cut_into_segments(
    begin: Indices,
    end: Indices,
    documents: Indices,
    *,
    longest: int,
    short_probability: float,
    min_rest: int,
) -> Segments:
    """Cuts the tokens `begin` to `end` of every one of `documents`, which are in corpus order.

    A segment has `longest` tokens, or with `short_probability` a random number of them; the last
    one what is left. Where that is less than `min_rest` it is joined to the one before, and
    both are halved where that is more than `longest`.
    """
    owners = np.flatnonzero(begin < end)
    start = begin[owners]
    rounds: list[tuple[Indices, Indices, NDArray[np.int32]]] = []
    # One round cuts the next segment of every document that has tokens left.
    while len(owners):
        left = end[owners] - start
        wanted = drawn_lengths(
            np.full_like(start, len(rounds)),
            documents[owners],
            seed=_SEED,
            shortest=1,
            longest=longest,
            short_probability=short_probability,
        )
        is_short_rest = left - wanted < min_rest
        size = np.where(is_short_rest, np.where(left > longest, -(-left // 2), left), wanted)
        rounds.append((owners, start, size.astype(np.int32)))
        owners, start = owners[size < left], (start + size)[size < left]
    if not rounds:
        return Segments(begin[:0], np.zeros(0, np.int32), np.zeros(len(begin) + 1, np.int64))
    all_owners, starts, sizes = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    order = np.argsort(starts)
    counts = np.bincount(all_owners, minlength=len(begin))
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return Segments(starts[order], sizes[order], first)
