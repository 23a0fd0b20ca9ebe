"""Documents cut into examples of one segment, so that an epoch shows every token exactly once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.draws import below, uniforms
from jaxbert.data.masking import IGNORED
from jaxbert.data.offsets import Offsets
from jaxbert.data.pairs import Pairs, drawn_lengths
from jaxbert.data.spans import in_blocks

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
    sentence_offsets: Offsets,
    document_offsets: Offsets,
    documents: Indices,
    *,
    longest: int,
    short_probability: float,
    min_rest: int,
) -> Segments:
    """Cuts the tokens of every one of `documents`, which are in corpus order.

    A segment has `longest` tokens, or with `short_probability` a random number of them; the last
    one what is left. Where that is less than `min_rest` it is joined to the one before, and
    both are halved where that is more than `longest`.
    """
    starts: list[Indices] = [np.zeros(0, np.int64)]
    sizes: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    counts: list[NDArray[np.uint32]] = [np.zeros(1, np.uint32)]
    for block in in_blocks(documents):
        begin = sentence_offsets[document_offsets[block]]
        end = sentence_offsets[document_offsets[block + 1]]
        owners, start, size = _cut(begin, end, block, longest, short_probability, min_rest)
        order = np.argsort(start)
        starts.append(start[order])
        sizes.append(size[order])
        counts.append(np.bincount(owners, minlength=len(block)).astype(np.uint32))
    first = np.cumsum(np.concatenate(counts), dtype=np.int64)
    return Segments(np.concatenate(starts), np.concatenate(sizes), first)


def _cut(
    begin: Indices,
    end: Indices,
    documents: Indices,
    longest: int,
    short_probability: float,
    min_rest: int,
) -> tuple[Indices, Indices, NDArray[np.int32]]:
    """Of every segment its document's place, start and size, in no order."""
    owners = np.flatnonzero(begin < end)
    start = begin[owners]
    rounds = [(owners[:0], start[:0], np.zeros(0, np.int32))]
    # One round cuts the next segment of every document that has tokens left.
    while len(owners):
        left = end[owners] - start
        wanted = drawn_lengths(
            np.full_like(start, len(rounds) - 1),
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
    all_owners, starts, sizes = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    return all_owners, starts, sizes
