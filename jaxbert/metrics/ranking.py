"""Which of several scores of one metric is the best."""

import math
import re
from collections.abc import Mapping
from typing import Literal

Mode = Literal["max", "min"]

_LESS_IS_BETTER = r"(loss|error|perplexity|mse|mae)$"
_NO_SCORE = r"(thresh|threshold|share)$|^number/"


def better_mode(metric: str) -> Mode:
    """Whether more of a metric is better, or less, as of a loss, an error or a perplexity."""
    return "min" if re.search(_LESS_IS_BETTER, metric) else "max"


def is_score(metric: str) -> bool:
    """Whether a value of a metric can be better than another: a threshold or a count is not."""
    return not re.search(_NO_SCORE, metric)


def ranked(scores: Mapping[int, float], mode: Mode) -> list[int]:
    """Steps from the best score to the worst; of equal ones the earliest first.

    Scores that are not finite come last: the log keeps of them only that.
    """

    def badness(step: int) -> float:
        score = scores[step]
        if not math.isfinite(score):
            return math.inf
        return -score if mode == "max" else score

    return sorted(scores, key=lambda step: (badness(step), step))
