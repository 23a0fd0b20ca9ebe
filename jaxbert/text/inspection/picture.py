"""The histogram of a corpus's lengths."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.text.inspection.lengths import LIMITS, LengthFigures, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's blue and vermilion, which stay apart for every kind of colour blindness.
_BARS, _MARK = "#56B4E9", "#D55E00"
_LONGEST_LINEAR = 768
_BINS = 60


def draw_lengths(counts: Mapping[int, int], figures: LengthFigures, path: Path, title: str) -> None:
    """Writes a PNG: rows by length, with the limits and the 95th percentile marked.

    The axis is logarithmic where some rows are very long; elsewhere it is linear and ends soon
    after the 99th percentile, or after the limit that follows.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    is_logarithmic = percentile(counts, 99) > _LONGEST_LINEAR
    edges = _logarithmic(counts) if is_logarithmic else _linear(counts)
    axes.hist(list(counts), bins=edges.tolist(), weights=list(counts.values()), color=_BARS)
    axes.set_xlim(edges[0], edges[-1])
    if is_logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.4)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _mark_limits(axes, figures, edges[0], edges[-1])
    beyond = sum(count for length, count in counts.items() if length > edges[-1])
    longest = figures.percentiles[100]
    note = f" ({beyond:,} rows of up to {longest:,} not shown)" if beyond else ""
    axes.set_xlabel(f"tokens, {figures.special_tokens} special ones included{note}")
    axes.set_ylabel("rows")
    # The name of a file is no formula, and may be no Unicode.
    axes.set_title(title.encode(errors="replace").decode(), parse_math=False)
    axes.legend(loc="center right", framealpha=1)
    figure.savefig(path)


def _linear(counts: Mapping[int, int]) -> np.ndarray:
    most = percentile(counts, 99)
    near = [limit for limit in LIMITS if most <= limit <= 2 * most]
    end = max(1.15 * most, 1.1 * min(near, default=0), 16)
    width = max(1, round(end / _BINS))
    return np.arange(0, end + width, width) + 0.5


def _logarithmic(counts: Mapping[int, int]) -> np.ndarray:
    lowest, highest = max(min(counts), 1), max(counts)
    return np.geomspace(lowest * 0.7, highest * 1.05, _BINS)


def _mark_limits(axes: "Axes", figures: LengthFigures, start: float, end: float) -> None:
    for limit, longer in figures.truncated.items():
        if start < limit < end:
            axes.axvline(limit, color="0.35", linestyle="--", linewidth=1)
            # Along the line: logarithmic axes leave no room beside it.
            axes.annotate(
                f"{limit}: {longer:.1%} longer",
                (limit, 0.99),
                (3, 0),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                rotation=90,
                horizontalalignment="left",
                verticalalignment="top",
            )
    length = figures.percentiles[95]
    axes.axvline(length, color=_MARK, linewidth=2, label=f"95th percentile: {length:,}")
    uncut = [str(limit) for limit in figures.truncated if limit >= end]
    if uncut:
        axes.plot([], [], " ", label=f"beyond the axis: {', '.join(uncut)}")
