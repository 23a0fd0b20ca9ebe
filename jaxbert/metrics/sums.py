"""Means over whole evaluations, as sums that are divided once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import SupportsFloat

WeightedSum = tuple[SupportsFloat, SupportsFloat]


@dataclass
class Sums:
    """Named totals and weights of all batches so far, in float64.

    A batch with many labels counts for more than one with few: the mean is per label, never a
    mean of batch means.
    """

    totals: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def add(self, batch: Mapping[str, WeightedSum]) -> None:
        """Adds one batch: name -> (sum, weight), scalars of any kind that `float` takes."""
        for name, (total, weight) in batch.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(total)
            self.weights[name] = self.weights.get(name, 0.0) + float(weight)

    def means(self) -> dict[str, float]:
        """Sum divided by weight for every name; nan where nothing had any weight."""
        return {
            name: total / self.weights[name] if self.weights[name] else math.nan
            for name, total in self.totals.items()
        }
