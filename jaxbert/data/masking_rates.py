"""How many tokens are masked, and what becomes of them, as a function of the step."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jaxbert.errors import UserError

Interpolation = Literal["constant", "linear"]


@dataclass(frozen=True)
class Rates:
    """Shares that hold at one step: of the tokens that are chosen, and of what they become."""

    probability: float
    mask_replace_prob: float
    random_replace_prob: float

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0:
            raise UserError(f"probability={self.probability}: must be above 0, at most 1")
        for name in ("mask_replace_prob", "random_replace_prob"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name}={getattr(self, name)}: must be from 0 to 1")
        # Interpolated shares are rounded: two that add up to 1 may come out a little above it.
        if self.mask_replace_prob + self.random_replace_prob > 1.0 + 1e-9:
            raise UserError(
                f"mask_replace_prob={self.mask_replace_prob} and random_replace_prob="
                f"{self.random_replace_prob} add up to more than 1"
            )


@dataclass(frozen=True)
class RatePoint:
    """The shares at a step of training; null: as at the point before."""

    step: int
    """Of training, at which these hold."""
    probability: float | None = None
    """null: as at the point before."""
    mask_replace_prob: float | None = None
    """null: as at the point before."""
    random_replace_prob: float | None = None
    """null: as at the point before."""

    def after(self, before: Rates) -> Rates:
        """Its shares, with what it leaves out as it was before."""
        own = {share.name: getattr(self, share.name) for share in fields(Rates)}
        return Rates(**{k: getattr(before, k) if v is None else v for k, v in own.items()})


def rates_of_points(first: Rates, points: Sequence[RatePoint]) -> list[Rates]:
    """`first`, then the shares of each point; UserError where they or the steps make no sense."""
    steps = [point.step for point in points]
    if any(later <= step for step, later in zip([-1, *steps], steps, strict=False)):
        raise UserError(f"schedule: its steps {steps} must ascend, from 0 or later")
    rates = [first]
    for point in points:
        rates.append(point.after(rates[-1]))
    return rates


def rates_at(
    step: int, first: Rates, points: Sequence[RatePoint], interpolation: Interpolation
) -> Rates:
    """The shares at a step: those of the last point passed, or on the line to the next one.

    `first` stands at step 0; nothing changes after the last point.
    """
    if not points:
        return first
    steps, rates = [0, *(point.step for point in points)], rates_of_points(first, points)
    if interpolation == "constant":
        return rates[bisect_right(steps, step) - 1]
    # Of two points at step 0 np.interp takes the later one, as it should.
    shares = [[getattr(r, share.name) for r in rates] for share in fields(Rates)]
    return Rates(*(float(np.interp(step, steps, values)) for values in shares))


def num_predictions(
    lengths: NDArray[np.int64], probability: float, max_predictions: int | None
) -> NDArray[np.int64]:
    """min(max_predictions, max(1, round(probability * length))), as in BERT's code; int64.

    `lengths` count [CLS] and [SEP].
    """
    wanted = np.maximum(np.rint(probability * lengths).astype(np.int64), 1)
    return wanted if max_predictions is None else np.minimum(wanted, max_predictions)
