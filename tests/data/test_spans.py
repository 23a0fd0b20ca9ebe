import numpy as np
import pytest
from corpora import random_lengths

from jaxbert.data.offsets import Offsets
from jaxbert.data.spans import cut_into_spans, held_out


def cut(documents, min_tokens, chosen=None, min_rest=None):
    """First sentence, stop and owner of every span."""
    lengths = np.concatenate([np.asarray(document, np.int64) for document in documents])
    sentence_offsets = np.concatenate([[0], np.cumsum(lengths)])
    document_offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    offsets = Offsets([document_offsets.astype(np.uint32)])
    spans = cut_into_spans(
        Offsets([sentence_offsets.astype(np.uint32)]),
        offsets,
        np.arange(len(documents)) if chosen is None else np.asarray(chosen),
        min_tokens=min_tokens,
        min_rest=min_tokens if min_rest is None else min_rest,
    )
    indices = np.arange(len(spans))
    first, stop = spans.sentences(indices)
    owners = spans.owners(indices, offsets)
    return list(zip(first.tolist(), stop.tolist(), owners.tolist(), strict=True))


def test_a_small_corpus_is_cut_as_by_hand():
    documents = [[6, 6, 6, 6, 2, 10], [4], [3, 3], [50, 1, 50, 1]]
    assert cut(documents, 10) == [
        (0, 2, 0),
        (2, 4, 0),
        (4, 6, 0),
        (6, 7, 1),
        (7, 9, 2),
        (9, 11, 3),
        (11, 13, 3),
    ]


def test_what_is_left_of_a_document_belongs_to_its_last_span():
    assert cut([[5, 5, 5, 4]], 10) == [(0, 4, 0)]
    assert cut([[5, 5, 50]], 10) == [(0, 3, 0)]


def test_a_rest_that_is_long_enough_is_a_span_of_its_own():
    assert cut([[5, 5, 5, 4]], 10, min_rest=9) == [(0, 2, 0), (2, 4, 0)]
    assert cut([[5, 5, 5, 4]], 10, min_rest=10) == [(0, 4, 0)]
    assert cut([[5, 5, 9]], 10, min_rest=1) == [(0, 3, 0)]
    assert cut([[1], [5, 5, 1, 1]], 10, min_rest=1) == [(0, 1, 0), (1, 3, 1), (3, 5, 1)]


@pytest.mark.parametrize("min_tokens", [2, 13, 61, 125])
def test_spans_partition_the_documents_and_fill_an_example_where_these_allow(min_tokens):
    documents = random_lengths(0, 300, 40, 30)
    spans = cut(documents, min_tokens)
    document_offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    lengths = np.concatenate(documents)
    assert [stop for _, stop, _ in spans[:-1]] == [first for first, _, _ in spans[1:]]
    assert (spans[0][0], spans[-1][1]) == (0, len(lengths))
    for first, stop, owner in spans:
        start, end = document_offsets[owner], document_offsets[owner + 1]
        assert start <= first < stop <= end
        is_whole_document = (first, stop) == (start, end)
        assert is_whole_document or lengths[first:stop].sum() >= min_tokens
        assert is_whole_document or stop - first >= 2


def test_only_the_documents_asked_for_are_cut():
    spans = cut([[5, 5], [5, 5], [5, 5, 5]], 10, chosen=[2])
    assert spans == [(4, 7, 0)]
    assert cut([[5, 5]], 10, chosen=np.zeros(0, np.int64)) == []


def test_the_held_out_share_of_documents_is_the_one_asked_for():
    digests = np.random.default_rng(0).integers(0, 2**32, 10_000, np.uint32)
    assert not held_out(digests, 0.0).any()
    assert held_out(digests, 1.0).all()
    # 500 expected, standard deviation 22.
    assert abs(held_out(digests, 0.05).sum() - 500) < 90


def test_held_out_documents_stay_so_wherever_they_stand_and_when_the_fraction_grows():
    generator = np.random.default_rng(1)
    digests = generator.integers(0, 2**32, 2_000, np.uint32)
    marks, order = held_out(digests, 0.1), generator.permutation(len(digests))
    np.testing.assert_array_equal(held_out(digests[order], 0.1), marks[order])
    np.testing.assert_array_equal(held_out(digests[7:], 0.1), marks[7:])
    assert held_out(digests, 0.2)[marks].all()


def test_spans_are_the_same_however_many_documents_are_cut_at_a_time(monkeypatch):
    documents = random_lengths(3, 60, 30, 20)
    whole = cut(documents, 40)
    monkeypatch.setattr("jaxbert.data.spans._BLOCK", 7)
    assert cut(documents, 40) == whole
