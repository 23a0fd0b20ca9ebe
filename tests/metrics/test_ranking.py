import math

from jaxbert.metrics.ranking import ranked


def test_steps_are_ranked_by_score_with_the_earliest_of_equal_ones_first():
    scores = {1: 0.5, 2: 0.8, 3: 0.8, 4: 0.1}
    assert ranked(scores, "max") == [2, 3, 1, 4]
    assert ranked(scores, "min") == [4, 1, 2, 3]


def test_a_score_that_is_not_a_number_is_the_worst():
    for mode in ("max", "min"):
        assert ranked({1: math.nan, 2: -5.0, 3: 5.0}, mode)[-1] == 1
        assert ranked({1: math.inf, 2: -math.inf, 3: 5.0}, mode)[0] == 3
