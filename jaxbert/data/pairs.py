"""The parts of an example, for two tasks over sentence pairs, with random access to every example.

The recipe for next-sentence prediction is that of the original BERT (Devlin et al. 2018, appendix
A.2, and the published `create_pretraining_data`): a run of sentences is split in two at a random
sentence; half of the time the second part is replaced by a run from another document; one example
in ten aims at a random shorter length; pairs that are too long lose tokens at both ends of the
longer part.

The reference walks through the corpus once per epoch and puts the second part that it replaced
back, to be read again. Here the corpus is cut into spans beforehand, an epoch visits every span
once, and what happens to a span is drawn from its own counter, so that any example can be made
alone. What that changes: when the second part is replaced, the first is the beginning or the end
of the run with equal probability, so that no sentence is missed systematically; and where a span
is larger than the example, the run of sentences taken from it starts at a random token.

Sentence-order prediction (Lan et al. 2019, section 3.1) differs in that the two parts of the run
are exchanged where the other task takes the second from elsewhere.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.draws import below, uniforms
from jaxbert.data.masking import IGNORED
from jaxbert.data.offsets import Offsets
from jaxbert.data.spans import Spans

SentencePairs = Literal["next_sentence", "sentence_order", "none"]
"""What a model learns to tell of the two parts of an example; none: there is one part."""


@dataclass(frozen=True)
class Pairs:
    """Where the two parts of each example lie in the store: token ranges, all int64 [examples].

    `label` is 0 where the second part follows the first in its document, 1 where it comes from
    another document or came before the first, -100 where there is no second part: `b_length` 0.
    """

    a_start: Indices
    a_length: Indices
    b_start: Indices
    b_length: Indices
    label: Indices


class Sizes(NamedTuple):
    """Tokens of each example, without special ones: int64 [examples].

    The runs of sentences hold at least `wanted` tokens where their document does; what exceeds
    `most` is cut off.
    """

    wanted: Indices
    most: Indices


@dataclass(frozen=True)
class Corpus:
    """The boundaries of a store and the spans that it was cut into."""

    sentence_offsets: Offsets
    document_offsets: Offsets
    spans: Spans

    def __len__(self) -> int:
        return len(self.spans)

    def document_tokens(self, documents: Indices) -> tuple[Indices, Indices]:
        """Where the tokens of documents begin and end."""
        first, stop = self.document_offsets[documents], self.document_offsets[documents + 1]
        return self.sentence_offsets[first], self.sentence_offsets[stop]

    @cached_property
    def longest_first(self) -> tuple[Indices, Indices]:
        """The documents of the split from the longest to the shortest, and minus their tokens."""
        start, end = self.document_tokens(self.spans.documents)
        order = np.argsort(start - end, kind="stable")
        return self.spans.documents[order], (start - end)[order]


def draw_next_sentences(
    corpus: Corpus,
    epochs: Indices,
    indices: Indices,
    size: Sizes,
    *,
    seed: int,
    fills: bool = False,
) -> Pairs:
    """Makes pairs of which half are from two documents.

    A span of one sentence has no second part of its own: its pair is always random. The document
    of a random next is any; with `fills` any that has enough tokens, so that no room is left.
    """
    drawn = uniforms(seed, "pairs", epochs, indices, 8).T
    first, stop = _windows(corpus, indices, size.wanted, drawn[0])
    count = stop - first
    a_count = _sentences_of_first_part(count, drawn[1])
    is_random = (count == 1) | (drawn[2] < 0.5)
    takes_end = is_random & (drawn[3] < 0.5)
    a_first = np.where(takes_end, stop - a_count, first)
    offsets = corpus.sentence_offsets
    a_start = offsets[a_first]
    a_length = offsets[a_first + a_count] - a_start
    other = _enough_of_another_document if fills else _another_document
    wanted = np.maximum(size.wanted - a_length, 1)
    other_first, other_stop = other(corpus, indices, wanted, drawn[4], drawn[5])
    b_start = offsets[np.where(is_random, other_first, a_first + a_count)]
    b_length = offsets[np.where(is_random, other_stop, stop)] - b_start
    pairs = Pairs(a_start, a_length, b_start, b_length, is_random.astype(np.int64))
    return _truncated(pairs, size.most, drawn[6:])


def draw_sentence_orders(
    corpus: Corpus,
    epochs: Indices,
    indices: Indices,
    size: Sizes,
    *,
    seed: int,
) -> Pairs:
    """Makes pairs of neighbours of which half are exchanged.

    A span of one sentence has no order and is a single part; the reference puts a random next
    behind it. Parts are exchanged before they are truncated, and lose tokens at both ends, so that
    the places of the cuts do not tell the order.
    """
    drawn = uniforms(seed, "sentence order", epochs, indices, 5).T
    first, stop = _windows(corpus, indices, size.wanted, drawn[0])
    middle = first + _sentences_of_first_part(stop - first, drawn[1])
    start, split, end = (corpus.sentence_offsets[edge] for edge in (first, middle, stop))
    is_pair = split < end
    is_swapped = is_pair & (drawn[2] < 0.5)
    pairs = Pairs(
        a_start=np.where(is_swapped, split, start),
        a_length=np.where(is_swapped, end - split, split - start),
        b_start=np.where(is_swapped, start, split),
        b_length=np.where(is_swapped, split - start, end - split),
        label=np.where(is_pair, is_swapped, IGNORED),
    )
    return _truncated(pairs, size.most, drawn[3:])


def drawn_lengths(
    epochs: Indices,
    indices: Indices,
    *,
    seed: int,
    shortest: int,
    longest: int,
    short_probability: float,
) -> Indices:
    """Tokens to aim at: `longest`, or with `short_probability` a random number from `shortest`."""
    chance, uniform = uniforms(seed, "lengths", epochs, indices, 2).T
    short = shortest + below(uniform, longest - shortest + 1)
    return np.where(chance < short_probability, short, longest)


def kept_lengths(a_length: Indices, b_length: Indices, most: Indices) -> tuple[Indices, Indices]:
    """Lengths after taking tokens one by one off the longer part until `most` are left.

    Of two equally long parts the second loses the token. Where in the part the kept tokens start
    is drawn uniformly by the callers: the reference's coin per token would always keep the middle
    of a very long sentence.
    """
    half = most // 2
    b_kept = np.minimum(b_length, np.maximum(half, most - a_length))
    a_kept = np.minimum(a_length, most - b_kept)
    return a_kept, b_kept


def _truncated(pairs: Pairs, most: Indices, drawn: NDArray[np.float64]) -> Pairs:
    """Cut to `most` tokens; `drawn` [2, examples] says where the kept ones of A and B start."""
    a_kept, b_kept = kept_lengths(pairs.a_length, pairs.b_length, most)
    return Pairs(
        a_start=pairs.a_start + below(drawn[0], pairs.a_length - a_kept + 1),
        a_length=a_kept,
        b_start=pairs.b_start + below(drawn[1], pairs.b_length - b_kept + 1),
        b_length=b_kept,
        label=pairs.label,
    )


def _sentences_of_first_part(count: Indices, uniform: NDArray[np.float64]) -> Indices:
    """From one to all but one of `count` sentences; a lone one is the first part."""
    return np.where(count == 1, 1, 1 + below(uniform, count - 1))


def _windows(
    corpus: Corpus,
    indices: Indices,
    wanted: Indices,
    uniform: NDArray[np.float64],
) -> tuple[Indices, Indices]:
    """Runs of sentences in the spans with at least `wanted` tokens: first and stop sentences.

    The run holds the sentences that overlap `wanted` consecutive tokens, and one more if that is
    one and the span has more. Where the tokens begin is drawn from all places at which they touch
    the span, and moved until they lie in it: so its first and last ones are seen as often as
    those of its middle.
    """
    offsets = corpus.sentence_offsets
    span_first, span_stop = corpus.spans.sentences(indices)
    begin, end = offsets[span_first], offsets[span_stop]
    drawn = below(uniform, end - begin + wanted - 1) - (wanted - 1)
    start = begin + np.clip(drawn, 0, np.maximum(end - begin - wanted, 0))
    first = offsets.searchsorted(start, right=True) - 1
    stop = offsets.searchsorted(np.minimum(start + wanted, end))
    is_lone = stop - first < np.minimum(2, span_stop - span_first)
    has_following = stop < span_stop
    return first - (is_lone & ~has_following), stop + (is_lone & has_following)


def _another_document(
    corpus: Corpus,
    indices: Indices,
    wanted: Indices,
    document_uniform: NDArray[np.float64],
    sentence_uniform: NDArray[np.float64],
) -> tuple[Indices, Indices]:
    """Runs of sentences from other documents of the split than the spans' own.

    A run starts at a random sentence and ends with the one that brings it to `wanted` tokens, or
    with its document; it has at least one sentence.
    """
    spans, offsets = corpus.spans, corpus.sentence_offsets
    owner = spans.owners(indices, corpus.document_offsets)
    other = below(document_uniform, len(spans.documents) - 1)
    document = spans.documents[other + (other >= owner)]
    begin, end = corpus.document_offsets[document], corpus.document_offsets[document + 1]
    first = begin + below(sentence_uniform, end - begin)
    enough = np.minimum(offsets[first] + wanted, offsets[end])
    return first, offsets.searchsorted(enough)


def _enough_of_another_document(
    corpus: Corpus,
    indices: Indices,
    wanted: Indices,
    document_uniform: NDArray[np.float64],
    sentence_uniform: NDArray[np.float64],
) -> tuple[Indices, Indices]:
    """The same, from documents and sentences behind which there are `wanted` tokens.

    Where no other document has as many it is the longest.
    """
    spans, offsets = corpus.spans, corpus.sentence_offsets
    documents, minus_tokens = corpus.longest_first
    own = spans.documents[spans.owners(indices, corpus.document_offsets)]
    own_start, own_end = corpus.document_tokens(own)
    count = np.searchsorted(minus_tokens, -wanted, side="right")
    others = count - (own_end - own_start >= wanted)
    chosen = documents[below(document_uniform, np.maximum(others, 1))]
    # The last of them takes the place of the span's own, which is among them then.
    last = documents[np.clip(count - 1, 0, None)]
    chosen = np.where(chosen == own, last, chosen)
    chosen = np.where(chosen == own, documents[1], chosen)
    begin, end = corpus.document_offsets[chosen], corpus.document_offsets[chosen + 1]
    latest = np.maximum(offsets[end] - wanted, offsets[begin])
    choices = offsets.searchsorted(latest, right=True) - begin
    first = begin + below(sentence_uniform, choices)
    enough = np.minimum(offsets[first] + wanted, offsets[end])
    return first, offsets.searchsorted(enough)
