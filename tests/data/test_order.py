import numpy as np
import pytest
from scipy import stats

from jaxbert.data.order import visit


@pytest.mark.parametrize("num_examples", [1, 2, 3, 4, 5, 7, 1000, 4096, 4097, 2**16 - 1, 2**16 + 1])
def test_every_epoch_visits_every_example_once(num_examples):
    epochs, indices = visit(5, num_examples, np.arange(3 * num_examples))
    for epoch in range(3):
        np.testing.assert_array_equal(np.sort(indices[epochs == epoch]), np.arange(num_examples))


@pytest.mark.parametrize("num_examples", [10, 70_000])
def test_a_slice_of_the_stream_is_that_slice_of_the_whole(num_examples):
    first = num_examples - 5
    epochs, indices = visit(2, num_examples, np.arange(first, first + 45))
    for start, stop in [(0, 1), (3, 23), (44, 45), (9, 9)]:
        some_epochs, some_indices = visit(2, num_examples, np.arange(first + start, first + stop))
        np.testing.assert_array_equal(some_epochs, epochs[start:stop])
        np.testing.assert_array_equal(some_indices, indices[start:stop])


@pytest.mark.parametrize("num_examples", [100, 100_000])
def test_epochs_and_seeds_have_orders_of_their_own(num_examples):
    def order(seed, epoch):
        start = num_examples * epoch
        return tuple(visit(seed, num_examples, np.arange(start, start + 100))[1].tolist())

    orders = {order(seed, epoch) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@pytest.mark.parametrize("num_examples", [2, 3, 8, 11])
def test_each_place_in_the_order_holds_each_example_equally_often(num_examples):
    epochs = 2_000
    _, indices = visit(1, num_examples, np.arange(num_examples * epochs))
    counts = np.zeros((num_examples, num_examples))
    np.add.at(counts, (np.tile(np.arange(num_examples), epochs), indices), 1)
    expected = epochs / num_examples
    # Each cell is binomial; the rows and columns add up, hence the degrees of freedom.
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, (num_examples - 1) ** 2) > 0.001


@pytest.mark.parametrize("num_examples", [60_000, 10**6, 2**31 + 1, 10**12])
def test_an_epoch_scatters_neighbours_over_the_corpus(num_examples):
    _, indices = visit(3, num_examples, np.arange(2_000))
    distances = np.abs(np.diff(indices)) / num_examples
    assert stats.kstest(indices / num_examples, "uniform").pvalue > 0.001
    assert stats.kstest(distances, stats.beta(1, 2).cdf).pvalue > 0.001


def test_far_positions_of_a_large_corpus_are_reached_without_the_ones_before():
    epochs, indices = visit(0, 10**9, np.arange(7 * 10**9 - 2, 7 * 10**9 + 2))
    assert epochs.tolist() == [6, 6, 7, 7]
    assert ((indices >= 0) & (indices < 10**9)).all()


def test_positions_may_come_in_any_order_and_more_than_once():
    positions = np.array([7, 0, 25, 7])
    epochs, indices = visit(4, 10, positions)
    all_epochs, all_indices = visit(4, 10, np.arange(30))
    np.testing.assert_array_equal(epochs, all_epochs[positions])
    np.testing.assert_array_equal(indices, all_indices[positions])


def test_all_orders_of_a_few_examples_are_equally_likely():
    _, indices = visit(0, 4, np.arange(4 * 24_000))
    _, counts = np.unique(indices.reshape(-1, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 0.001
