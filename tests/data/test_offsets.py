"""Offsets over several shards act as the one array that they stand for."""

import numpy as np
import pytest

from jaxbert.data.offsets import Offsets


def random_shards(draws, num_shards):
    counts = draws.integers(1, 30, num_shards)
    lengths = [draws.integers(1, 9, count) for count in counts]
    shards = [np.concatenate([[0], np.cumsum(part)]).astype(np.uint32) for part in lengths]
    whole = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return shards, whole


@pytest.mark.parametrize("seed", range(10))
def test_several_shards_act_as_one_array(seed):
    draws = np.random.default_rng(seed)
    shards, whole = random_shards(draws, int(draws.integers(1, 6)))
    offsets = Offsets(shards)
    assert offsets[np.zeros(0, np.int64)].shape == (0,)
    assert len(offsets) == len(whole)
    pieces = draws.integers(0, len(whole), 200)
    np.testing.assert_array_equal(offsets[pieces], whole[pieces])
    np.testing.assert_array_equal(offsets[np.arange(len(whole))], whole)
    values = draws.permutation(whole[-1] + 1)
    for side, right in [("left", False), ("right", True)]:
        found = offsets.searchsorted(values, right=right)
        np.testing.assert_array_equal(found, np.searchsorted(whole, values, side=side))


def test_an_offset_beyond_four_gigatokens_is_exact():
    shard = np.array([0, 2**32 - 1], np.uint32)
    offsets = Offsets([shard, shard, np.array([0, 5], np.uint32)])
    assert offsets[np.array([2, 3])].tolist() == [2**33 - 2, 2**33 + 3]
    assert offsets.searchsorted(np.array([2**33 - 1])).tolist() == [3]
