"""The corpus cut once into spans: runs of sentences of one document that fill one example each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.draws import uniforms

Indices = NDArray[np.int64]

# The split is a property of the corpus alone: a run with another seed must not train on the
# documents that a first run held out.
_SPLIT_SEED = 0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Spans:
    """Spans of the documents of one split, in corpus order.

    `first` and `stop` are sentence indices [spans] (half-open); `owner` [spans] is the position in
    `documents` [documents of the split] of the document that the span lies in.
    """

    first: Indices
    stop: Indices
    owner: Indices
    documents: Indices

    def __len__(self) -> int:
        return len(self.first)


def held_out(num_documents: int, fraction: float) -> NDArray[np.bool_]:
    """Marks the documents of the validation split by a hash of their index: bool [documents]."""
    marks = np.zeros(num_documents, dtype=bool)
    for start in range(0, num_documents, _BLOCK):
        documents = np.arange(start, min(start + _BLOCK, num_documents))
        drawn = uniforms(_SPLIT_SEED, "held-out documents", np.zeros_like(documents), documents, 1)
        marks[documents] = drawn[:, 0] < fraction
    return marks


def cut_into_spans(
    sentence_offsets: Indices,
    document_offsets: Indices,
    documents: Indices,
    *,
    min_tokens: int,
    min_sentences: int,
) -> Spans:
    """Partitions the sentences of `documents` into spans that cross no document.

    A span ends with the first sentence that brings it to `min_tokens` tokens and `min_sentences`
    sentences; what is left of a document after its last such span belongs to that span. So a span
    is smaller than either minimum only where its whole document is.
    `sentence_offsets` is int64 [sentences + 1] in tokens, `document_offsets` int64 [documents + 1]
    in sentences.
    """
    first = np.asarray(document_offsets[documents], dtype=np.int64)
    end = np.asarray(document_offsets[documents + 1], dtype=np.int64)
    owner = np.arange(len(documents), dtype=np.int64)
    rounds: list[tuple[Indices, Indices, Indices]] = [(first[:0], first[:0], owner[:0])]
    # One round cuts the next span of every document that has sentences left.
    while len(first):
        stop = np.searchsorted(sentence_offsets, sentence_offsets[first] + min_tokens)
        stop = np.minimum(np.maximum(stop, first + min_sentences), end)
        tokens_left = sentence_offsets[end] - sentence_offsets[stop]
        is_last = (tokens_left < min_tokens) | (end - stop < min_sentences)
        stop = np.where(is_last, end, stop)
        rounds.append((first, stop, owner))
        first, end, owner = stop[~is_last], end[~is_last], owner[~is_last]
    first, stop, owner = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    order = np.argsort(first)
    return Spans(first[order], stop[order], owner[order], documents)
