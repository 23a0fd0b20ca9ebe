"""The corpus cut once into spans: runs of sentences of one document that fill one example each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.draws import uniforms
from jaxbert.data.offsets import Offsets

# The split is a property of documents alone: a run with another seed, or on a corpus that has
# grown, must not train on those that a first run held out.
_SPLIT_SEED = 0
_BLOCK = 1 << 16
"""What is computed for millions of documents or spans is computed for so many at a time: the arrays
on the way are several times as large as what stays."""
_SENTENCES = 2


@dataclass(frozen=True)
class Spans:
    """Spans of the documents of one split, in corpus order.

    `first` [spans] is the first sentence of each, `counts` [spans] its sentences (uint32, as there
    may be billions of spans); `documents` [documents] are those of the split.
    """

    first: Indices
    counts: NDArray[np.uint32]
    documents: Indices

    def __len__(self) -> int:
        return len(self.first)

    def sentences(self, spans: Indices) -> tuple[Indices, Indices]:
        """The first sentences of some spans and those after their last ones."""
        first = self.first[spans]
        return first, first + self.counts[spans]

    def owners(self, spans: Indices, document_offsets: Offsets) -> Indices:
        """The places in `documents` of the documents that some spans lie in."""
        documents = document_offsets.searchsorted(self.first[spans], right=True) - 1
        return np.searchsorted(self.documents, documents)


def held_out(digests: NDArray[np.uint32], fraction: float) -> NDArray[np.bool_]:
    """Marks the documents of the validation split by a hash of what is in them: bool [documents].

    Equal documents are in one split.
    """
    marks = np.zeros(len(digests), dtype=bool)
    for start in range(0, len(digests), _BLOCK):
        block = digests[start : start + _BLOCK].astype(np.int64)
        drawn = uniforms(_SPLIT_SEED, "held-out documents", np.zeros_like(block), block, 1)
        marks[start : start + len(block)] = drawn[:, 0] < fraction
    return marks


def in_blocks(indices: Indices) -> Iterator[Indices]:
    """Some at a time, in order."""
    return (indices[start : start + _BLOCK] for start in range(0, len(indices), _BLOCK))


def cut_into_spans(
    sentence_offsets: Offsets,
    document_offsets: Offsets,
    documents: Indices,
    *,
    min_tokens: int,
    min_rest: int,
) -> Spans:
    """Partitions the sentences of `documents` into spans that cross no document.

    A span ends with the first sentence that brings it to `min_tokens` tokens and two sentences, so
    that a pair can be made of it. What is left of a document after its last such span is one of its
    own where it has `min_rest` tokens and two sentences, and belongs to that last span otherwise.
    """
    firsts: list[Indices] = [np.zeros(0, np.int64)]
    counts: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    for block in in_blocks(documents):
        first, end = document_offsets[block], document_offsets[block + 1]
        start, stop = _cut(sentence_offsets, first, end, min_tokens, min_rest)
        order = np.argsort(start)
        firsts.append(start[order])
        counts.append((stop - start)[order].astype(np.uint32))
    return Spans(np.concatenate(firsts), np.concatenate(counts), documents)


def _cut(
    sentence_offsets: Offsets, first: Indices, end: Indices, min_tokens: int, min_rest: int
) -> tuple[Indices, Indices]:
    """The first sentence of every span and that after its last one, in no order."""
    rounds = [(first[:0], first[:0])]
    # One round cuts the next span of every document that has sentences left.
    while len(first):
        total = sentence_offsets[end]
        wanted = np.minimum(sentence_offsets[first] + min_tokens, total)
        stop = sentence_offsets.searchsorted(wanted)
        stop = np.minimum(np.maximum(stop, first + _SENTENCES), end)
        tokens_left = total - sentence_offsets[stop]
        is_last = (tokens_left < min_rest) | (end - stop < _SENTENCES)
        stop = np.where(is_last, end, stop)
        rounds.append((first, stop))
        first, end = stop[~is_last], end[~is_last]
    starts, stops = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    return starts, stops
