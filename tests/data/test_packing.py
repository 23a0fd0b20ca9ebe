"""Rows of several examples: the plan is a partition that respects every limit, and layouts move
each example whole."""

import numpy as np
import pytest

from jaxbert.data.masking import Masked
from jaxbert.data.packing import Layout, Limits, plan_rows
from jaxbert.errors import UserError


def rows_of(plan):
    return [plan.examples[a:b].tolist() for a, b in zip(plan.starts, plan.starts[1:], strict=False)]


@pytest.mark.parametrize("seed", range(20))
def test_every_example_is_in_one_row_and_no_row_exceeds_its_limits(seed):
    draws = np.random.default_rng(seed)
    capacity = int(draws.integers(1, 600))
    lengths = draws.integers(1, capacity + 1, draws.integers(0, 3000))
    predictions = np.maximum(1, np.rint(draws.uniform(0, 0.4) * np.arange(capacity + 1)))
    predictions = predictions.astype(np.int64)
    limits = Limits(capacity, int(draws.integers(1, 40)), int(predictions[-1] + draws.integers(3)))
    plan = plan_rows(lengths, limits, predictions)
    rows = rows_of(plan)
    assert sorted(example for row in rows for example in row) == list(range(len(lengths)))
    for row in rows:
        assert 1 <= len(row) <= limits.examples
        assert lengths[row].sum() <= limits.tokens
        assert predictions[lengths[row]].sum() <= limits.predictions


def best_fit_decreasing(lengths, capacity):
    """One example at a time: how many rows it takes."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - length)
    return len(rooms)


@pytest.mark.parametrize("seed", range(30))
def test_the_histogram_takes_as_many_rows_as_best_fit_one_by_one(seed):
    draws = np.random.default_rng(seed)
    capacity = int(draws.integers(1, 60))
    lengths = draws.integers(1, capacity + 1, draws.integers(1, 300))
    plan = plan_rows(lengths, Limits(capacity, capacity))
    assert len(plan) == best_fit_decreasing(lengths.tolist(), capacity)


def test_small_plans():
    assert rows_of(plan_rows(np.array([3, 2, 1, 3, 2, 1, 2]), Limits(6, 9))) == [
        [0, 3],
        [1, 4, 6],
        [2, 5],
    ]
    assert rows_of(plan_rows(np.full(5, 2), Limits(7, 2))) == [[0, 2], [1, 3], [4]]
    assert len(plan_rows(np.full(1000, 10), Limits(512, 512))) == 20
    assert len(plan_rows(np.zeros(0, np.int64), Limits(5, 5))) == 0


def test_examples_that_no_row_takes_are_refused():
    for lengths in ([3, 20], [0, 3]):
        with pytest.raises(UserError, match=r"a row takes examples of 1 to 16 tokens"):
            plan_rows(np.array(lengths), Limits(16, 4))


def test_rows_are_looked_up_in_any_order():
    plan = plan_rows(np.array([3, 2, 1, 3, 2, 1, 2]), Limits(6, 9))
    examples, places = plan.of(np.array([2, 0, 2]))
    assert examples.tolist() == [2, 5, 0, 3, 2, 5]
    assert places.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.fixture
def layout():
    # Row 0: examples of 2 and 3 tokens; row 1: none; row 2: one of 4.
    return Layout(np.array([2, 3, 4]), np.array([0, 0, 2]), num_rows=3, capacity=6, slots=2)


def test_tokens_are_laid_side_by_side(layout):
    tokens = np.arange(1, 10)
    expected = [[1, 2, 3, 4, 5, 0], [0] * 6, [6, 7, 8, 9, 0, 0]]
    assert layout.tokens(tokens, 0).tolist() == expected
    assert layout.sequence_ids.tolist() == [[1, 1, 2, 2, 2, 0], [0] * 6, [1, 1, 1, 1, 0, 0]]
    assert layout.sequence_starts.tolist() == [[0, 2], [0, 0], [0, 0]]


def test_values_of_examples_go_to_their_slots(layout):
    assert layout.examples(np.array([7, 8, 9]), -1).tolist() == [[7, 8], [-1, -1], [9, -1]]
    vectors = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    laid = layout.examples(vectors, 0.0)
    assert laid.dtype == np.float32
    assert laid.tolist() == [[[1, 2], [3, 4]], [[0, 0], [0, 0]], [[5, 6], [0, 0]]]


def test_predictions_follow_their_examples(layout):
    masked = Masked(
        input_ids=np.zeros(9, np.int32),
        places=np.array([1, 2, 4, 8]),
        labels=np.array([11, 20, 22, 33], np.int32),
        counts=np.array([1, 2, 1]),
    )
    found, names = layout.predictions(masked, 4)
    assert found.tolist() == [[1, 2, 4, 0], [0, 0, 0, 0], [3, 0, 0, 0]]
    assert names.tolist() == [[11, 20, 22, -100], [-100] * 4, [33, -100, -100, -100]]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_laid_out_can_be_read_back(seed):
    draws = np.random.default_rng(seed)
    lengths = draws.integers(1, 33, 200)
    plan = plan_rows(lengths, Limits(64, 7))
    chosen = draws.permutation(len(plan))[:10]
    examples, places = plan.of(chosen)
    tokens = [draws.integers(1, 1000, length) for length in lengths[examples]]
    layout = Layout(lengths[examples], places, 10, 64, 7)
    laid = layout.tokens(np.concatenate(tokens), 0)
    for index, place in enumerate(places):
        slot = index - np.searchsorted(places, place)
        mine = laid[place][layout.sequence_ids[place] == slot + 1]
        np.testing.assert_array_equal(mine, tokens[index])
        start = layout.sequence_starts[place, slot]
        assert layout.sequence_ids[place, start] == slot + 1
    assert ((laid == 0) == (layout.sequence_ids == 0)).all()
