"""Values over the steps of a run, in so few points that a page can hold them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from jaxbert.errors import UserError
from jaxbert.training.metrics_file import Row

LIMIT = 400
"""Points of a curve at most."""


class Point(NamedTuple):
    """A value and where it was."""

    step: int
    value: float


@dataclass(slots=True)
class Bucket:
    """What is kept of the values of neighbouring steps."""

    first: int
    last: int
    number: int
    total: float
    lowest: float
    highest: float

    @property
    def step(self) -> float:
        """Its middle."""
        return (self.first + self.last) / 2

    @property
    def mean(self) -> float:
        """Of its values, which rounding must not carry past the extremes."""
        return min(max(self.total / self.number, self.lowest), self.highest)

    def take(self, step: int, value: float) -> None:
        """Takes in a value of a later step."""
        self.last = step
        self.number += 1
        self.total += value
        if value < self.lowest:
            self.lowest = value
        elif value > self.highest:
            self.highest = value

    def join(self, other: "Bucket") -> None:
        """Takes in a later one."""
        self.last = other.last
        self.number += other.number
        self.total += other.total
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)


@dataclass
class Curve:
    """The values under one name, in the order of the steps; `buckets` have the finite ones.

    Past `limit` points, those within a number of steps that doubles as the curve grows become one,
    of which the mean and both extremes are known.
    """

    limit: int = LIMIT
    buckets: list[Bucket] = field(default_factory=list)
    width: int = 1
    """Steps of a bucket."""
    lowest: Point | None = None
    highest: Point | None = None
    """The first ones, where a value comes again."""
    last: Point | None = None
    """Finite or not."""
    not_finite: list[int] = field(default_factory=list)
    """The first and the last step of a value that is not finite; empty: there is none."""

    @property
    def largest_bucket(self) -> int:
        """How many values a point of the curve stands for, at most."""
        return max((bucket.number for bucket in self.buckets), default=0)

    def add(self, step: int, value: float) -> None:
        """Puts a value at the end."""
        self.last = Point(step, value)
        if not math.isfinite(value):
            self.not_finite = [*self.not_finite[:1], step]
            return
        if self.lowest is None or value < self.lowest.value:
            self.lowest = self.last
        if self.highest is None or value > self.highest.value:
            self.highest = self.last
        if self.buckets and self.buckets[-1].first // self.width == step // self.width:
            self.buckets[-1].take(step, value)
        else:
            self.buckets.append(Bucket(step, step, 1, value, value, value))
            self._thin()

    def within(self, limit: int) -> "Curve":
        """The same in at most so many points."""
        buckets = [replace(bucket) for bucket in self.buckets]
        curve = replace(self, limit=limit, buckets=buckets)
        curve._thin()
        return curve

    def _thin(self) -> None:
        while len(self.buckets) > self.limit:
            self.width *= 2
            kept: list[Bucket] = []
            for bucket in self.buckets:
                if kept and kept[-1].first // self.width == bucket.first // self.width:
                    kept[-1].join(bucket)
                else:
                    kept.append(bucket)
            self.buckets = kept


def curves_of(rows: Iterable[Row], origin: str) -> dict[str, Curve]:
    """The curve of every name in the rows of metrics.jsonl; `origin` is for errors."""
    curves: dict[str, Curve] = {}
    for row in rows:
        step = row["step"]
        for name, value in row.items():
            if name == "step":
                continue
            if not isinstance(value, int | float):
                raise UserError(
                    f"{origin}: {name!r} of step {step} is {value!r}, expected a number: put the "
                    "line right or remove it"
                )
            if name not in curves:
                curves[name] = Curve()
            curves[name].add(step, value)
    return curves
