"""Perplexity: how many tokens a model wavers between."""

import math

_LARGEST = 700.0
"""exp of little more is no float."""


def perplexity(loss: float) -> float:
    """exp of a mean cross-entropy, finite for every one that is."""
    return math.exp(min(loss, _LARGEST))
