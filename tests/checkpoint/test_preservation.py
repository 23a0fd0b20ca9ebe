import math

import pytest

from jaxbert.checkpoint.preservation import CheckpointConfig, ranked


def test_steps_are_ranked_by_score_with_the_earliest_of_equal_ones_first():
    scores = {1: 0.5, 2: 0.8, 3: 0.8, 4: 0.1}
    assert ranked(scores, "max") == [2, 3, 1, 4]
    assert ranked(scores, "min") == [4, 1, 2, 3]


def test_a_score_that_is_not_a_number_is_the_worst():
    for mode in ("max", "min"):
        assert ranked({1: math.nan, 2: -5.0, 3: 5.0}, mode)[-1] == 1
        assert ranked({1: math.inf, 2: -math.inf, 3: 5.0}, mode)[0] == 3


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("accuracy", "max"),
        ("spearman", "max"),
        ("loss", "min"),
        ("masked_lm_loss", "min"),
        ("perplexity", "min"),
        ("rmse", "min"),
        (None, "max"),
    ],
)
def test_less_of_a_loss_is_better_and_more_of_the_rest(metric, better):
    assert CheckpointConfig(metric=metric).better == better
    for mode in ("max", "min"):
        assert CheckpointConfig(metric=metric, mode=mode).better == mode
