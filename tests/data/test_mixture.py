"""A mixture follows every source without gaps, at its share, from any position."""

import numpy as np
import pytest
from test_stream import Numbered

from jaxbert.data.mixture import BLOCK, Mixture, shares
from jaxbert.data.stream import Phase, Stream, evaluation_batches


def mixture(weights, seed=0, sizes=(1000, 300, 50)):
    sources = [Numbered(size, name) for name, size in enumerate(sizes[: len(weights)])]
    return Mixture(sources, weights, seed)


@pytest.mark.parametrize(
    "weights", [(1.0,), (1, 1), (0.7, 0.2, 0.1), (3, 1e-7, 2), (0, 3, 1), (1, 0, 1), (2, 1, 0)]
)
def test_every_source_is_followed_without_gaps(weights):
    mixed = mixture(weights)
    batch = mixed.rows(np.arange(2 * BLOCK), 0)
    for source in range(len(weights)):
        positions = batch["position"][batch["name"] == source]
        assert positions.tolist() == list(range(2 * mixed.quotas[source]))
        # Half of them, to the row, in either block.
        assert (batch["name"][:BLOCK] == source).sum() == mixed.quotas[source]


def test_any_rows_are_those_of_the_whole_stream():
    mixed = mixture((5, 3, 2), seed=4)
    whole = mixed.rows(np.arange(3 * BLOCK), 0)
    chosen = np.random.default_rng(0).integers(0, 3 * BLOCK, 500)
    for name, values in mixed.rows(chosen, 0).items():
        np.testing.assert_array_equal(values, whole[name][chosen])
    stream = Stream([Phase(mixed, 64)])
    parts = [stream.some(1000, np.arange(*bounds)) for bounds in [(0, 5), (5, 64)]]
    joined = np.concatenate([part["position"] for part in parts])
    np.testing.assert_array_equal(joined, whole["position"][64000:64064])


@pytest.mark.parametrize("ends", [(0, 7, 1), (100, 30, 1), (BLOCK + 5, 3 * BLOCK, 40), (1, 0, 9)])
def test_each_source_goes_on_in_its_order_where_the_weights_change(ends):
    """Three mixtures one after another, the second with a source more, the third without one."""
    positions, begun = [[], [], []], np.zeros(3, np.int64)
    for weights, end in zip([(3, 1, 0), (1, 1, 2), (0, 1, 1)], ends, strict=True):
        mixed = mixture(weights, seed=3).after(begun)
        batch = mixed.rows(np.arange(end + 1), 0)
        names, places = batch["name"][:end], batch["position"][:end]
        for source in range(3):
            found = places[names == source].tolist()
            assert not found or weights[source]
            positions[source] += found
        begun = mixed.begun_at(end)
        assert begun.tolist() == [len(found) for found in positions]
    assert positions == [[*range(number)] for number in begun]


def test_sources_are_mixed_evenly_within_a_block():
    names = mixture((3, 1)).rows(np.arange(BLOCK), 0)["name"]
    by_part = names.reshape(64, -1).mean(axis=1)
    # 1,024 rows each: a standard deviation of 0.0135.
    assert np.abs(by_part - 0.25).max() < 5 * 0.0135


@pytest.mark.parametrize(
    "weights", [[1], [1, 1, 1], [0.5, 0.25, 0.25], [1, 1e-9], [9, 5, 3, 0.1], [0, 0.3, 0.7]]
)
def test_shares_are_whole_and_near_the_weights(weights):
    for total in (10, 997, BLOCK):
        found = shares(weights, total)
        assert found.sum() == total
        assert ((found >= 1) == (np.array(weights) > 0)).all()
        exact = np.array(weights) / np.sum(weights) * total
        assert np.abs(found - exact).max() <= len(weights)


def test_what_rounding_leaves_over_goes_to_the_largest_remainders():
    draws = np.random.default_rng(0)
    for _ in range(200):
        total = int(draws.integers(20, 1000))
        exact = draws.uniform(0.1, 1, draws.integers(1, 8))
        exact *= total / exact.sum()
        found, remainders = shares(exact, total), exact % 1
        more = found - np.floor(exact)
        assert set(more) <= {0, 1}
        assert remainders[more == 1].min(initial=1) >= remainders[more == 0].max(initial=0)


def test_seeds_mix_otherwise_and_the_step_is_that_of_every_source():
    positions = np.arange(500)
    names = [mixture((1, 1), seed).rows(positions, 0)["name"] for seed in (0, 1)]
    assert 0.4 < (names[0] == names[1]).mean() < 0.6
    assert (mixture((1, 1)).rows(positions, 7)["step"] == 7).all()


def test_an_epoch_holds_as_many_rows_of_every_source_as_it_has():
    for weights, sizes, expected in [
        ((1, 1), (1000, 300), 2000),
        ((3, 1), (300, 100), 400),
        ((1, 3), (5, 300), 400),
        ((0, 3, 1), (1000, 300, 50), 400),
    ]:
        assert mixture(weights, sizes=sizes).num_rows == expected


def test_evaluation_goes_through_one_source_after_the_other():
    mixed = mixture((1, 1), sizes=(3, 2))
    found = [batch["number"].tolist() for batch in evaluation_batches(mixed, 2)]
    assert found == [[0, 1], [2, 0], [1, -1]]
