"""Documents in segments: every token once an epoch, whatever the cuts."""

import tracemalloc

import numpy as np
import pytest

from jaxbert.data import spans
from jaxbert.data.offsets import Offsets
from jaxbert.data.segments import cut_into_segments


def cut(lengths, longest, *, short_probability=0.0, min_rest=1, gap=0):
    """Documents of these lengths in a store, `gap` tokens of others between them."""
    end = np.cumsum(np.asarray(lengths, np.int64) + gap)
    begin = end - lengths
    # A sentence each, every second document of the others.
    tokens = np.stack([np.full(len(end), gap), lengths], axis=1).reshape(-1)
    sentences = np.arange(len(tokens) + 1)
    segments = cut_into_segments(
        Offsets([np.concatenate([np.zeros(1, np.int64), np.cumsum(tokens)])]),
        Offsets([sentences]),
        sentences[1::2],
        longest=longest,
        short_probability=short_probability,
        min_rest=min_rest,
    )
    return segments, begin, end


def drawn(segments, epoch, seed=0):
    indices = np.arange(len(segments))
    return segments.drawn(np.full_like(indices, epoch), indices, seed=seed)


@pytest.mark.parametrize(
    ("length", "min_rest", "sizes"),
    [
        (10, 1, [10]),
        (3, 8, [3]),
        (20, 1, [10, 10]),
        (21, 1, [10, 10, 1]),
        (21, 2, [10, 6, 5]),
        (13, 4, [7, 6]),
        (14, 4, [10, 4]),
        (0, 4, []),
    ],
)
def test_a_document_is_cut_as_by_hand(length, min_rest, sizes):
    assert cut([length], 10, min_rest=min_rest)[0].sizes.tolist() == sizes


@pytest.mark.parametrize("short_probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("min_rest", [1, 7])
def test_every_token_is_in_one_segment_of_its_document_in_every_epoch(short_probability, min_rest):
    lengths = np.random.default_rng(0).integers(0, 300, 80)
    segments, begin, end = cut(
        lengths, 29, short_probability=short_probability, min_rest=min_rest, gap=5
    )
    inside = np.zeros(end[-1] + 1, np.int64)
    np.add.at(inside, begin, 1)
    np.add.at(inside, end, -1)
    starts = []
    for epoch in range(4):
        parts = drawn(segments, epoch)
        assert (parts.a_length == segments.sizes).all()
        assert (parts.a_length >= 1).all()
        assert (parts.a_length <= 29).all()
        assert not parts.b_length.any()
        assert (parts.label == -100).all()
        steps = np.zeros_like(inside)
        np.add.at(steps, parts.a_start, 1)
        np.add.at(steps, parts.a_start + parts.a_length, -1)
        np.testing.assert_array_equal(np.cumsum(steps), np.cumsum(inside))
        owners = np.searchsorted(begin, parts.a_start, side="right") - 1
        assert (parts.a_start + parts.a_length <= end[owners]).all()
        starts.append(parts.a_start)
    assert any((starts[0] != other).any() for other in starts[1:])


def test_cuts_move_from_epoch_to_epoch_to_every_turn_alike():
    segments, *_ = cut([25], 10)
    seen = np.array([drawn(segments, epoch).a_start for epoch in range(3_000)])
    turns, counts = np.unique(seen, axis=0, return_counts=True)
    assert turns.tolist() == [[0, 10, 20], [5, 15, 0], [15, 0, 10]]
    assert (abs(counts - 1_000) < 4 * np.sqrt(3_000 * 2 / 9)).all()


def test_a_segment_alone_is_where_it_is_among_all():
    segments, *_ = cut([35, 12, 50], 10, short_probability=0.5)
    together = drawn(segments, 7, seed=3)
    for index in range(len(segments)):
        alone = segments.drawn(np.array([7]), np.array([index]), seed=3)
        assert alone.a_start == together.a_start[index]
    assert (drawn(segments, 7, seed=4).a_start != together.a_start).any()
    # Lengths are those of the corpus.
    assert (drawn(segments, 7, seed=4).a_length == together.a_length).all()


def test_segments_are_the_same_however_many_documents_are_cut_at_a_time(monkeypatch):
    lengths = np.random.default_rng(0).integers(0, 300, 80)
    whole = cut(lengths, 29, short_probability=0.3, min_rest=7, gap=5)[0]
    monkeypatch.setattr(spans, "_BLOCK", 7)
    found = cut(lengths, 29, short_probability=0.3, min_rest=7, gap=5)[0]
    for name in ("starts", "sizes", "first"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
        assert getattr(found, name).dtype == getattr(whole, name).dtype


def test_cutting_many_documents_takes_little_more_memory_than_stays():
    number = 500_000
    offsets = Offsets([np.arange(number + 1) * 20]), Offsets([np.arange(number + 1)])
    documents = np.arange(number)
    tracemalloc.start()
    try:
        segments = cut_into_segments(
            *offsets, documents, longest=126, short_probability=0.1, min_rest=7
        )
        stays, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(segments) >= number
    # All documents at a time take eight times as much.
    assert peak < 4 * stays
