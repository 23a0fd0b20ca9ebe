import itertools

import numpy as np
import pytest
from corpora import random_lengths

from jaxbert.data.pairs import Corpus, draw_pairs, draw_segments, kept_lengths
from jaxbert.data.spans import cut_into_spans


def corpus_of(documents, max_tokens, min_sentences=2):
    lengths = np.concatenate([np.asarray(document, np.int64) for document in documents])
    sentence_offsets = np.concatenate([[0], np.cumsum(lengths)])
    document_offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    spans = cut_into_spans(
        sentence_offsets,
        document_offsets,
        np.arange(len(documents)),
        min_tokens=max_tokens,
        min_sentences=min_sentences,
    )
    return Corpus(sentence_offsets, document_offsets, spans)


def draw(corpus, max_tokens, short_probability=0.1, epochs=20, function=draw_pairs, seed=0):
    num_spans = len(corpus.spans)
    epoch, index = np.divmod(np.arange(epochs * num_spans), num_spans)
    return index, function(
        corpus,
        epoch,
        index,
        seed=seed,
        max_tokens=max_tokens,
        short_probability=short_probability,
    )


def document_at(corpus, token):
    sentence = np.searchsorted(corpus.sentence_offsets, token, side="right") - 1
    return np.searchsorted(corpus.document_offsets, sentence, side="right") - 1


def truncated_one_by_one(a, b, max_tokens):
    while a + b > max_tokens:
        if a > b:
            a -= 1
        else:
            b -= 1
    return a, b


@pytest.mark.parametrize("max_tokens", [2, 3, 12, 13])
def test_kept_lengths_equal_those_of_taking_tokens_off_one_by_one(max_tokens):
    a, b = np.array(list(itertools.product(range(1, 30), repeat=2))).T
    expected = [truncated_one_by_one(*pair, max_tokens) for pair in zip(a, b, strict=True)]
    kept = kept_lengths(a, b, max_tokens)
    np.testing.assert_array_equal(np.stack(kept, axis=1), expected)


@pytest.mark.parametrize("max_tokens", [2, 9, 40, 125])
def test_the_label_says_where_the_second_part_comes_from(max_tokens):
    corpus = corpus_of(random_lengths(1, 40, 30, 40), max_tokens)
    index, pairs = draw(corpus, max_tokens)
    spans = corpus.spans
    own = spans.documents[spans.owner[index]]
    span_start = corpus.sentence_offsets[spans.first[index]]
    span_end = corpus.sentence_offsets[spans.stop[index]]
    a_end, b_end = pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length
    assert ((span_start <= pairs.a_start) & (a_end <= span_end)).all()
    is_next = ~pairs.is_random
    assert (a_end <= pairs.b_start)[is_next].all()
    assert (b_end <= span_end)[is_next].all()
    assert (document_at(corpus, pairs.b_start) != own)[pairs.is_random].all()
    np.testing.assert_array_equal(
        document_at(corpus, pairs.b_start), document_at(corpus, b_end - 1)
    )


def test_a_pair_that_needs_no_truncation_is_whole_adjacent_sentences():
    corpus = corpus_of(random_lengths(2, 60, 6, 8), 60)
    _, pairs = draw(corpus, 60)
    fits = (pairs.a_length + pairs.b_length < 60) & ~pairs.is_random
    assert fits.sum() > 100
    a_end = pairs.a_start + pairs.a_length
    np.testing.assert_array_equal(a_end[fits], pairs.b_start[fits])
    for edge in (pairs.a_start, a_end, pairs.b_start + pairs.b_length):
        assert np.isin(edge[fits], corpus.sentence_offsets).all()


def test_no_part_is_empty_and_no_pair_is_too_long():
    for max_tokens in (2, 3, 7, 125):
        corpus = corpus_of(random_lengths(3, 50, 12, 200), max_tokens)
        _, pairs = draw(corpus, max_tokens)
        assert pairs.a_length.min() >= 1
        assert pairs.b_length.min() >= 1
        assert (pairs.a_length + pairs.b_length).max() <= max_tokens


def test_half_of_the_pairs_are_random():
    corpus = corpus_of([[10] * 60] * 20, 125)
    _, pairs = draw(corpus, 125, epochs=100)
    count = len(pairs.is_random)
    assert abs(pairs.is_random.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)


def test_the_other_document_is_drawn_uniformly_from_all_others():
    corpus = corpus_of([[10] * 60] * 5, 125)
    index, pairs = draw(corpus, 125, epochs=400)
    own = corpus.spans.owner[index][pairs.is_random]
    other = document_at(corpus, pairs.b_start)[pairs.is_random]
    counts = np.zeros((5, 5))
    np.add.at(counts, (own, other), 1)
    expected = counts.sum(axis=1, keepdims=True) / 4
    off_diagonal = ~np.eye(5, dtype=bool)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected))[off_diagonal].all()
    assert (np.diag(counts) == 0).all()


def test_a_document_of_one_sentence_is_always_followed_by_a_random_one():
    corpus = corpus_of([[30], [20], [500], [1]], 61)
    _, pairs = draw(corpus, 61, epochs=50)
    assert pairs.is_random.all()


def test_short_examples_still_hold_two_sentences_where_their_document_does():
    corpus = corpus_of([[40] * 9] * 20, 125)
    _, pairs = draw(corpus, 125, short_probability=1.0, epochs=100)
    count = len(pairs.is_random)
    assert abs(pairs.is_random.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)


def test_one_example_in_ten_aims_at_a_shorter_length():
    corpus = corpus_of([[3] * 400] * 4, 125)
    share = {}
    for probability in (0.0, 0.1, 1.0):
        _, pairs = draw(corpus, 125, short_probability=probability, epochs=100)
        total = (pairs.a_length + pairs.b_length)[~pairs.is_random]
        share[probability] = (total < 125).mean()
        if probability == 1.0:
            # Uniform over 2 to 125, then up to the next sentence bounds: 3 more on average.
            assert abs(total.mean() - 66) < 3
    assert share[0.0] == 0.0
    assert abs(share[0.1] - 0.1 * share[1.0]) < 0.03
    assert share[1.0] > 0.9


@pytest.mark.parametrize("function", [draw_pairs, draw_segments])
def test_every_token_is_seen_sooner_or_later(function):
    corpus = corpus_of([[150], [7, 60, 1], [5] * 31, [90, 2, 2]], 40, min_sentences=2)
    _, pairs = draw(corpus, 40, epochs=3_000, function=function)
    seen = np.zeros(corpus.sentence_offsets[-1], dtype=bool)
    for start, length in zip(pairs.a_start, pairs.a_length, strict=True):
        seen[start : start + length] = True
    assert seen.all()


def test_a_single_segment_is_full_wherever_its_span_allows():
    corpus = corpus_of(random_lengths(5, 40, 30, 40), 62, min_sentences=1)
    index, segments = draw(corpus, 62, short_probability=0.0, function=draw_segments)
    offsets, spans = corpus.sentence_offsets, corpus.spans
    start, end = offsets[spans.first[index]], offsets[spans.stop[index]]
    np.testing.assert_array_equal(segments.a_length, np.minimum(end - start, 62))
    assert (segments.a_start >= start).all()
    assert (segments.a_start + segments.a_length <= end).all()
    assert not segments.b_length.any()
