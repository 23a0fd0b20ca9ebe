"""Mean and deviation of what several runs of one configuration came to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """What the seeds' runs say of one figure."""

    values: tuple[float, ...]
    """In the order of the seeds; nan of a run that diverged."""

    @property
    def mean(self) -> float:
        """The mean."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None of a single value."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


def figures_of(results: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    """The figures that all runs have which did not diverge, by name; {} is what those give."""
    ended = [found for found in results if found]
    common = [name for name in (ended or [{}])[0] if all(name in other for other in ended)]
    return {
        name: Figure(tuple(float(found.get(name, math.nan)) for found in results))
        for name in common
    }
