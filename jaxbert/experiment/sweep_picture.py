"""The picture of a sweep: the figure that chooses against every key."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxbert.experiment.grid import short_keys, shown_value
from jaxbert.experiment.sweep_outcome import Choice, Outcome, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECADE = 10.0
_LONGEST = 24
"""Characters of a value."""


def draw_sweep(outcome: Outcome, path: Path) -> None:
    """Writes the picture."""
    picture_of(outcome).savefig(path)


def picture_of(outcome: Outcome) -> "Figure":
    """A part for every key: a mark for every run, by its seed, and the means of each value."""
    from matplotlib.figure import Figure

    choice, keys = outcome.choice, short_keys(outcome.rows[0].values)
    assert choice is not None
    columns = min(len(keys), 3)
    lines = -(-len(keys) // columns)
    figure = Figure(
        figsize=(max(4.6 * columns, 6), 3.6 * lines + 0.3), dpi=120, layout="constrained"
    )
    for place, (key, short) in enumerate(keys.items(), 1):
        axes = figure.add_subplot(lines, columns, place)
        _draw(axes, outcome, choice, key)
        axes.set_xlabel(short, parse_math=False)
        axes.set_ylabel(choice.name.removeprefix("eval_"), parse_math=False)
        axes.grid(alpha=0.3)
    marks, names = axes.get_legend_handles_labels()
    figure.legend(marks, names, loc="outside upper center", ncols=6, fontsize="small")
    return figure


def _draw(axes: "Axes", outcome: Outcome, choice: Choice, key: str) -> None:
    given = [row.values[key] for row in outcome.rows]
    values = [value for place, value in enumerate(given) if value not in given[:place]]
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    places = _placed(axes, sorted(values) if numeric else values, numeric=numeric)
    at = {repr(value): place for value, place in places}
    for seed in sorted({seed for row in outcome.rows for seed in row.seeds}):
        points = [
            (at[repr(row.values[key])], value)
            for row in outcome.rows
            for own, value in zip(row.seeds, row.chosen_by(choice).values, strict=True)
            if own == seed and math.isfinite(value)
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "o", alpha=0.7, label=f"seed {seed}")
    means = [(place, _mean(outcome.rows, choice, key, value)) for value, place in places]
    # There is nothing between words.
    shape = "-" if numeric else "_"
    axes.plot(*zip(*means, strict=True), shape, color="0.4", linewidth=1, ms=22, label="mean")
    best = outcome.rows[0]
    if math.isfinite(mean := best.chosen_by(choice).mean):
        ring: dict[str, Any] = {"markersize": 14, "fillstyle": "none", "color": "black"}
        axes.plot([at[repr(best.values[key])]], [mean], "o", label="best mean", **ring)


def _placed(axes: "Axes", values: Sequence[Any], *, numeric: bool) -> list[tuple[Any, float]]:
    """Every value with its place on the axis, which gets them as its ticks."""
    places = [float(v) for v in values] if numeric else [float(n) for n in range(len(values))]
    if numeric and min(places) > 0 and max(places) >= _DECADE * min(places):
        axes.set_xscale("log")
    elif not numeric:
        axes.set_xlim(-0.5, len(values) - 0.5)
    texts = [shown_value(value) for value in values]
    labels = [t if len(t) <= _LONGEST else f"{t[: _LONGEST // 2]}..{t[-10:]}" for t in texts]
    long = sum(map(len, labels)) > 2 * _LONGEST
    turned: dict[str, Any] = {"rotation": 20, "ha": "right"} if long else {}
    # A value of the user's is no formula, and may be no Unicode.
    safe = [label.encode(errors="replace").decode() for label in labels]
    axes.set_xticks(places, safe, parse_math=False, **turned)
    axes.minorticks_off()
    return list(zip(values, places, strict=True))


def _mean(rows: Sequence[Row], choice: Choice, key: str, value: Any) -> float:
    """Over all finite runs with a value; nan without any."""
    found = [v for row in rows if row.values[key] == value for v in row.chosen_by(choice).values]
    finite = [v for v in found if math.isfinite(v)]
    return float(np.mean(finite)) if finite else math.nan
