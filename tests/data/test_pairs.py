import itertools

import numpy as np
import pytest
from corpora import random_lengths
from scipy import stats

from jaxbert.data.offsets import Offsets
from jaxbert.data.pairs import (
    Corpus,
    Sizes,
    draw_next_sentences,
    draw_sentence_orders,
    drawn_lengths,
    kept_lengths,
)
from jaxbert.data.spans import cut_into_spans

PAIRS = [draw_next_sentences, draw_sentence_orders]


def corpus_of(documents, max_tokens):
    lengths = np.concatenate([np.asarray(document, np.int64) for document in documents])
    sentence_offsets = np.concatenate([[0], np.cumsum(lengths)])
    document_offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    sentence_offsets = Offsets([sentence_offsets.astype(np.uint32)])
    document_offsets = Offsets([document_offsets.astype(np.uint32)])
    spans = cut_into_spans(
        sentence_offsets,
        document_offsets,
        np.arange(len(documents)),
        min_tokens=max_tokens,
        min_rest=max_tokens,
    )
    return Corpus(sentence_offsets, document_offsets, spans)


def draw(
    corpus, max_tokens, short_probability=0.1, epochs=20, function=draw_next_sentences, seed=0
):
    num_spans = len(corpus.spans)
    epoch, index = np.divmod(np.arange(epochs * num_spans), num_spans)
    wanted = drawn_lengths(
        epoch,
        index,
        seed=seed,
        shortest=2,
        longest=max_tokens,
        short_probability=short_probability,
    )
    sizes = Sizes(wanted, np.full_like(wanted, max_tokens))
    return index, function(corpus, epoch, index, sizes, seed=seed)


def tokens_of(corpus, index):
    """Where the tokens of spans begin and end."""
    first, stop = corpus.spans.sentences(index)
    return corpus.sentence_offsets[first], corpus.sentence_offsets[stop]


def owners(corpus, index):
    return corpus.spans.owners(index, corpus.document_offsets)


def whole(offsets):
    return offsets[np.arange(len(offsets))]


def document_at(corpus, token):
    sentence = corpus.sentence_offsets.searchsorted(token, right=True) - 1
    return corpus.document_offsets.searchsorted(sentence, right=True) - 1


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
    own = corpus.spans.documents[owners(corpus, index)]
    span_start, span_end = tokens_of(corpus, index)
    a_end, b_end = pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length
    assert ((span_start <= pairs.a_start) & (a_end <= span_end)).all()
    is_next = pairs.label == 0
    assert (a_end <= pairs.b_start)[is_next].all()
    assert (b_end <= span_end)[is_next].all()
    assert (document_at(corpus, pairs.b_start) != own)[pairs.label == 1].all()
    np.testing.assert_array_equal(
        document_at(corpus, pairs.b_start), document_at(corpus, b_end - 1)
    )


@pytest.mark.parametrize("max_tokens", [2, 9, 40, 125])
def test_both_parts_are_of_one_span_in_the_order_that_the_label_says(max_tokens):
    corpus = corpus_of(random_lengths(1, 40, 30, 40), max_tokens)
    index, pairs = draw(corpus, max_tokens, function=draw_sentence_orders)
    span_start, span_end = tokens_of(corpus, index)
    a_end, b_end = pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length
    is_pair, is_swapped = pairs.label >= 0, pairs.label == 1
    for start, end in ((pairs.a_start, a_end), (pairs.b_start, b_end)):
        assert (span_start <= start)[is_pair].all()
        assert (end <= span_end)[is_pair].all()
    gap = np.where(is_swapped, pairs.a_start - b_end, pairs.b_start - a_end)[is_pair]
    assert (gap >= 0).all()
    assert (gap == 0).any()


@pytest.mark.parametrize("function", PAIRS)
def test_a_pair_that_needs_no_truncation_is_whole_adjacent_sentences(function):
    corpus = corpus_of(random_lengths(2, 60, 6, 8), 60)
    _, pairs = draw(corpus, 60, function=function)
    is_swapped = (pairs.label == 1) & (function is draw_sentence_orders)
    fits = (pairs.a_length + pairs.b_length < 60) & ((pairs.label == 0) | is_swapped)
    assert fits.sum() > 100
    a_end, b_end = pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length
    first_end = np.where(is_swapped, b_end, a_end)
    second_start = np.where(is_swapped, pairs.a_start, pairs.b_start)
    np.testing.assert_array_equal(first_end[fits], second_start[fits])
    for edge in (pairs.a_start, a_end, pairs.b_start, b_end):
        assert np.isin(edge[fits], whole(corpus.sentence_offsets)).all()


@pytest.mark.parametrize("function", PAIRS)
def test_no_part_is_empty_and_no_pair_is_too_long(function):
    for max_tokens in (2, 3, 7, 125):
        corpus = corpus_of(random_lengths(3, 50, 12, 200), max_tokens)
        _, pairs = draw(corpus, max_tokens, function=function)
        assert pairs.a_length.min() >= 1
        assert pairs.b_length[pairs.label >= 0].min() >= 1
        assert not pairs.b_length[pairs.label < 0].any()
        assert (pairs.a_length + pairs.b_length).max() <= max_tokens


@pytest.mark.parametrize("function", PAIRS)
def test_half_of_the_pairs_are_random_or_swapped(function):
    corpus = corpus_of([[10] * 60] * 20, 125)
    _, pairs = draw(corpus, 125, epochs=100, function=function)
    count = len(pairs.label)
    assert set(pairs.label) == {0, 1}
    assert abs(pairs.label.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)


def test_every_span_is_swapped_in_half_of_the_epochs():
    corpus = corpus_of([[3, 4]] * 40, 61)
    index, pairs = draw(corpus, 61, epochs=400, function=draw_sentence_orders)
    swapped = np.bincount(index, weights=pairs.label)
    assert (np.abs(swapped - 200) < 5 * np.sqrt(400 / 4)).all()


def best_guess(features, label):
    """How often the likelier label of every combination of features is right."""
    _, group = np.unique(features, axis=1, return_inverse=True)
    counts = np.zeros((group.max() + 1, 2))
    np.add.at(counts, (group.ravel(), label), 1)
    return counts.max(axis=1).sum() / len(label)


def test_neither_lengths_nor_cut_sentences_tell_the_order():
    corpus = corpus_of(random_lengths(1, 300, 60, 60), 125)
    _, pairs = draw(corpus, 125, epochs=30, function=draw_sentence_orders)
    is_pair = pairs.label >= 0
    label, offsets = pairs.label[is_pair], whole(corpus.sentence_offsets)
    ends = (pairs.a_start + pairs.a_length, pairs.b_start + pairs.b_length)
    edges = np.stack([np.isin(x, offsets) for x in (pairs.a_start, pairs.b_start, *ends)])
    longer = np.sign(pairs.a_length - pairs.b_length)[None]
    # Were the parts cut at the outer ends of their run alone, it would be 0.95.
    assert best_guess(np.concatenate([edges, longer])[:, is_pair], label) < 0.54


def test_a_document_of_one_sentence_has_no_order():
    corpus = corpus_of([[30], [20], [500], [1], [4, 5]], 61)
    index, pairs = draw(corpus, 61, epochs=50, function=draw_sentence_orders)
    np.testing.assert_array_equal(pairs.label < 0, index < 4)
    np.testing.assert_array_equal(pairs.a_length[index < 4], [30, 20, 61, 1] * 50)
    assert not pairs.b_length[index < 4].any()


def test_the_other_document_is_drawn_uniformly_from_all_others():
    corpus = corpus_of([[10] * 60] * 5, 125)
    index, pairs = draw(corpus, 125, epochs=400)
    own = owners(corpus, index)[pairs.label == 1]
    other = document_at(corpus, pairs.b_start)[pairs.label == 1]
    counts = np.zeros((5, 5))
    np.add.at(counts, (own, other), 1)
    expected = counts.sum(axis=1, keepdims=True) / 4
    off_diagonal = ~np.eye(5, dtype=bool)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected))[off_diagonal].all()
    assert (np.diag(counts) == 0).all()


def test_a_document_of_one_sentence_is_always_followed_by_a_random_one():
    corpus = corpus_of([[30], [20], [500], [1]], 61)
    _, pairs = draw(corpus, 61, epochs=50)
    assert (pairs.label == 1).all()


@pytest.mark.parametrize("function", PAIRS)
def test_short_examples_still_hold_two_sentences_where_their_document_does(function):
    corpus = corpus_of([[40] * 9] * 20, 125)
    _, pairs = draw(corpus, 125, short_probability=1.0, epochs=100, function=function)
    count = len(pairs.label)
    assert set(pairs.label) == {0, 1}
    assert abs(pairs.label.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)


@pytest.mark.parametrize("function", PAIRS)
def test_one_example_in_ten_aims_at_a_shorter_length(function):
    corpus = corpus_of([[3] * 400] * 4, 125)
    share = {}
    for probability in (0.0, 0.1, 1.0):
        _, pairs = draw(corpus, 125, short_probability=probability, epochs=100, function=function)
        total = (pairs.a_length + pairs.b_length)[pairs.label == 0]
        share[probability] = (total < 125).mean()
        if probability == 1.0:
            # Uniform over 2 to 125, then up to the next sentence bounds: 3 more on average.
            assert abs(total.mean() - 66) < 3
    assert share[0.0] == 0.0
    assert abs(share[0.1] - 0.1 * share[1.0]) < 0.03
    assert share[1.0] > 0.9


@pytest.mark.parametrize("function", PAIRS)
def test_every_token_is_seen_sooner_or_later(function):
    corpus = corpus_of([[150], [7, 60, 1], [5] * 31, [90, 2, 2]], 40)
    _, pairs = draw(corpus, 40, epochs=3_000, function=function)
    seen = np.zeros(whole(corpus.sentence_offsets)[-1], dtype=bool)
    for start, length in zip(pairs.a_start, pairs.a_length, strict=True):
        seen[start : start + length] = True
    assert seen.all()


def test_the_ends_of_a_span_are_seen_as_often_as_its_middle():
    # Of 300 tokens 100 are wanted, which begin at any of 399 places.
    corpus = corpus_of([[1] * 300, [1] * 5], 290)
    index, epochs = np.zeros(20_000, np.int64), np.arange(20_000)
    wanted = np.full_like(index, 100)
    pairs = draw_sentence_orders(corpus, epochs, index, Sizes(wanted, wanted), seed=0)
    starts = np.concatenate([pairs.a_start, pairs.b_start])
    lengths = np.concatenate([pairs.a_length, pairs.b_length])
    steps = np.bincount(starts, minlength=301) - np.bincount(starts + lengths, minlength=301)
    seen = np.cumsum(steps)[:300] / len(index)
    np.testing.assert_allclose(seen[[0, 150, 299]], 100 / 399, atol=0.015)
    assert seen.min() > 100 / 399 - 0.015


def test_a_random_next_that_fills_is_drawn_uniformly_from_the_documents_with_enough():
    # 4 documents of 60 tokens and more; the others have at most 7.
    corpus = corpus_of([[10] * 6, [5], [10] * 8, [10] * 7, [7], [10] * 9, [1, 1]], 40)
    epochs = 3000
    index = np.tile(np.arange(len(corpus.spans)), epochs)
    epoch = np.repeat(np.arange(epochs), len(corpus.spans))
    wanted = np.full(len(index), 40)
    pairs = draw_next_sentences(corpus, epoch, index, Sizes(wanted, wanted), seed=3, fills=True)
    own, is_random = owners(corpus, index), pairs.label == 1
    assert (pairs.a_length + pairs.b_length == 40)[is_random].all()
    other = document_at(corpus, pairs.b_start)
    long = [0, 2, 3, 5]
    for document in range(7):
        drawn = other[is_random & (own == document) & (pairs.b_length > 7)]
        counts = np.bincount(drawn, minlength=7)
        others = [name for name in long if name != document]
        assert counts.sum() == counts[others].sum()
        assert stats.chisquare(counts[others]).pvalue > 1e-4


def test_where_no_other_document_has_enough_the_longest_is_taken():
    corpus = corpus_of([[30, 30], [4, 4], [3]], 40)
    index = np.tile(np.arange(len(corpus.spans)), 200)
    wanted = np.full(len(index), 40)
    pairs = draw_next_sentences(
        corpus, np.arange(len(index)), index, Sizes(wanted, wanted), seed=0, fills=True
    )
    own, is_random = owners(corpus, index), pairs.label == 1
    other = document_at(corpus, pairs.b_start)
    assert (other[is_random & (own == 0)] == 1).all()
    assert (other[is_random & (own > 0)] == 0).all()
