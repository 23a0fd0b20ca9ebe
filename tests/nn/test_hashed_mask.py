"""A mask that is hashed is random enough: rates, bytes, and what places say of each other."""

import jax
import numpy as np
import pytest
from scipy.stats import chi2

from jaxbert.nn.hashed_mask import draw_seeds, kept_weights


@pytest.fixture(scope="module")
def masks():
    """[row, head, key, query], and of another step."""
    shape = 8, 4
    first, second = (draw_seeds(jax.random.key(n), *shape) for n in range(2))
    return [np.asarray(kept_weights(seeds, 512, 26)) for seeds in (first, second)]


def test_as_many_are_kept_as_asked_for(masks):
    """In every row, head, key and query: 26 of 256 dropped, within five deviations."""
    kept, rate = masks[0], 230 / 256
    for axes in ((0, 1, 2, 3), (2, 3), (0, 1, 2), (0, 1, 3), (3,), (2,)):
        count = np.prod([kept.shape[axis] for axis in axes])
        deviation = np.sqrt(rate * (1 - rate) / count)
        assert np.abs(kept.mean(axis=axes) - rate).max() < 5.5 * deviation


def test_what_is_kept_here_says_nothing_of_elsewhere(masks):
    """Keys, queries, heads, rows and steps apart: correlations of no more than chance."""
    rate = 230 / 256
    dropped = (~masks[0]).astype(np.float32) - np.float32(1 - rate)
    other = (~masks[1]).astype(np.float32) - np.float32(1 - rate)
    pairs = [(dropped, other), (dropped[1:], dropped[:-1]), (dropped[:, 1:], dropped[:, :-1])]
    for offset in (1, 2, 3, 8, 127, 128, 256, 384):
        pairs.append((dropped[:, :, offset:], dropped[:, :, :-offset]))
        pairs.append((dropped[..., offset:], dropped[..., :-offset]))
    # Scores of neighbours in a diagonal, and a transposed mask.
    pairs += [(dropped[..., 1:, 1:], dropped[..., :-1, :-1]), (dropped, dropped.swapaxes(2, 3))]
    for one, two in pairs:
        found = float(np.mean(one * two)) / (rate * (1 - rate))
        # Of the transposed mask every pair counts twice.
        assert abs(found) < 5 * np.sqrt(2 / one.size)


def test_all_bytes_are_alike():
    """Thresholds cut off what all 256 values should have: chi-squared over their counts."""
    seeds = draw_seeds(jax.random.key(5), 1, 1)
    kept = [int(kept_weights(seeds, 512, dropped).sum()) for dropped in range(256)]
    counts = -np.diff([*kept, 0])
    expected = 512 * 512 / 256
    assert counts.sum() == 512 * 512
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, 255) > 1e-3
    assert chi2.cdf(statistic, 255) > 1e-3


def test_rows_have_the_masks_that_they_would_have_in_another_batch():
    """As long as the generator is threefry: elsewhere rows are drawn together."""
    key = jax.random.key(7)
    np.testing.assert_array_equal(draw_seeds(key, 5, 3)[:2], draw_seeds(key, 2, 3))
    assert draw_seeds(jax.random.key(7, impl="rbg"), 2, 3).shape == (2, 3, 2)
    assert len(np.unique(draw_seeds(key, 64, 16))) == 64 * 16 * 2
