"""The axis of a chart: from where to where, and what is written beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxbert.report.numbers import exponent

_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """A range and its ticks."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    is_log: bool

    def share(self, value: float) -> float:
        """Where on it a value is, from 0 to 1."""
        low, high, place = self.low, self.high, value
        if self.is_log:
            low, high, place = math.log(low), math.log(high), math.log(value)
        return (place - low) / (high - low)


def step_axis(last: int) -> Axis:
    """From 0 to a step."""
    return axis([0, max(last, 1)], is_whole=True)


def axis(
    values: Sequence[float],
    *,
    is_log: bool = False,
    is_share: bool = False,
    is_whole: bool = False,
) -> Axis:
    """An axis that holds the values; `is_share`: written as percentages."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if is_log:
        return _logarithmic(low, high)
    if low == high:
        pad = abs(low) / 2 or 0.5
        low, high = low - pad, high + pad
    size = _tick_size(high - low)
    if is_whole:
        size = max(size, 1.0)
    first, last = math.floor(low / size), math.ceil(high / size)
    places = [number * size for number in range(first, last + 1)]
    # A whole tick more than the values need is room wasted.
    bottom = min(low, places[1]) if len(places) > 2 else places[0]
    top = max(high, places[-2]) if len(places) > 2 else places[-1]
    room = (high - low) / 25
    bottom, top = max(bottom - room, places[0]), min(top + room, places[-1])
    inside = [place for place in places if bottom - size * 1e-6 <= place <= top + size * 1e-6]
    ticks = [(place, _written(place, size, top, is_share=is_share)) for place in inside]
    return Axis(bottom, top, ticks, False)


def _logarithmic(low: float, high: float) -> Axis:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, (last - first) // _TICKS)
    powers = [10.0**power for power in range(first, last + 1, stride)]
    inside = [power for power in powers if low <= power <= high]
    ticks = [(power, _written(power, power, power)) for power in inside]
    return Axis(low / 1.1, high * 1.1, ticks, True)


def _tick_size(extent: float) -> float:
    """1, 2 or 5 times a power of ten, about so that `_TICKS` fit."""
    rough = extent / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _written(value: float, size: float, top: float, *, is_share: bool = False) -> str:
    """A tick with as many digits as tell it from its neighbours, in a unit that fits the top."""
    if value == 0:
        return "0%" if is_share else "0"
    if is_share:
        return f"{value * 100:.{_digits(size * 100)}f}%"
    for least, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if top >= least:
            return f"{value / unit:.{_digits(size / unit)}f}{name}"
    if size < 1e-4:
        digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(size)))
        return exponent(f"{value:.{digits}e}")
    return f"{value:.{_digits(size)}f}"


def _digits(size: float) -> int:
    return max(0, -math.floor(math.log10(size) + 1e-9))
