"""Buckets: few lengths, the fewest positions, every example once."""

import itertools

import numpy as np
import pytest

from jaxbert.data.buckets import BucketedRows, best_lengths
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.stream import evaluation_batches


def examples_of(lengths):
    ids = [np.full(length, 10 + number) for number, length in enumerate(lengths)]
    return EncodedExamples({"input_ids": ids, "labels": np.arange(len(ids))}, pad_id=0)


def drawn(number, longest, seed=0):
    return np.random.default_rng(seed).integers(1, longest + 1, number)


def positions(needed, lengths):
    return sum(min(length for length in lengths if length >= n) for n in needed)


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_no_choice_of_lengths_has_less_padding(most):
    for seed in range(20):
        needed = drawn(12, 7, seed)
        found = best_lengths(needed, most)
        assert len(found) <= most
        values = np.unique(needed)
        choices = itertools.chain.from_iterable(
            itertools.combinations(values, n) for n in range(1, min(most, len(values)) + 1)
        )
        best = min(positions(needed, c) for c in choices if c[-1] == values[-1])
        assert positions(needed, found) == best


def test_a_length_more_is_taken_where_it_saves_more_than_its_price():
    needed = np.array([8] * 10 + [16])
    assert best_lengths(needed, 4, price=79).tolist() == [8, 16]
    assert best_lengths(needed, 4, price=81).tolist() == [16]


@pytest.mark.parametrize("number", [1, 5, 16, 700])
def test_every_example_is_in_one_batch_and_no_batch_is_wider_than_it_needs(number):
    lengths = drawn(number, 100)
    rows = BucketedRows(examples_of(lengths), batch_size=4, longest=100, compilation=0)
    batches = list(evaluation_batches(rows, 4))
    assert {batch["input_ids"].shape[0] for batch in batches} == {4}
    widths = [batch["input_ids"].shape[1] for batch in batches]
    assert set(widths) <= set(rows.lengths.tolist())
    assert len(rows.lengths) <= 8
    for batch, width in zip(batches, widths, strict=True):
        longest = batch["attention_mask"].sum(axis=1).max()
        assert width == min(size for size in rows.lengths if size >= longest)
        for ids, mask, row in zip(
            batch["input_ids"], batch["attention_mask"], batch["row_ids"], strict=True
        ):
            if row >= 0:
                assert mask.sum() == lengths[row]
                assert (ids[mask == 1] == 10 + row).all()
    seen = np.concatenate([batch["row_ids"] for batch in batches])
    assert sorted(seen[seen >= 0].tolist()) == list(range(number))
    tokens = sum(batch["attention_mask"][batch["row_ids"] >= 0].sum() for batch in batches)
    whole = sum(batch["attention_mask"].size for batch in batches)
    assert rows.padding == pytest.approx(1 - tokens / whole)


def test_eight_lengths_leave_little_padding():
    lengths = np.random.default_rng(0).lognormal(3.5, 0.6, 2000).astype(int).clip(3, 128)
    rows = BucketedRows(examples_of(lengths), batch_size=16, longest=128, compilation=0)
    assert rows.padding < 0.15
    assert 1 - lengths.mean() / 128 > 0.6


def test_input_order_is_never_far():
    """Whoever waits for row 0 has it after 64 batches."""
    rows = BucketedRows(examples_of(drawn(1000, 50)), batch_size=2, longest=50)
    for number, batch in enumerate(evaluation_batches(rows, 2)):
        assert (batch["row_ids"] // 128 == number // 64).all()


def test_hosts_that_make_only_their_rows_make_the_same_batch():
    rows = BucketedRows(examples_of(drawn(13, 90)), batch_size=8, longest=90, compilation=0)
    for numbers in (np.arange(8), np.array([8, 9, 10, 11, 12, -1, -1, -1])):
        whole = rows.evaluation_rows(numbers)
        parts = [rows.evaluation_rows(numbers[a:b]) for a, b in ((0, 3), (3, 5), (5, 8))]
        for name in whole:
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])


def test_few_examples_are_one_length():
    rows = BucketedRows(examples_of([3, 50, 100]), batch_size=1, longest=100)
    assert rows.lengths.tolist() == [100]
