"""Curves as matplotlib draws them: SVG in the colours of the page (`style.py`)."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxbert.report.curves import Curve
from jaxbert.report.elements import Markup, element, joined
from jaxbert.report.numbers import exponent, shown
from jaxbert.report.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BANDS = 4
"""Lines past which the extremes around them would hide each other."""
COLOURS, DASHES = 8, ("-", "--", ":")
"""Past the last colour they come again, with other dashes."""
_WIDTH, _HEIGHT = 480, 220
_MANY = 60
"""Points past which they are no longer marked one by one."""
_SETTINGS = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "lines.linewidth": 1.6,
    "axes.edgecolor": LIGHT["soft"],
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LIGHT["rule"],
    **{f"axes.spines.{side}": False for side in ("left", "right", "top")},
    **{f"{axis}tick.color": LIGHT["soft"] for axis in "xy"},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    **{f"{axis}tick.major.pad": 6 for axis in "xy"},
}


@dataclass(frozen=True)
class Line:
    """A curve and how it is drawn."""

    name: str
    curve: Curve
    colour: int
    is_marked: bool = False
    """Evaluations: a dot at each of them."""


def drawn(lines: Sequence[Line], label: str, *, is_log: bool, is_share: bool) -> Markup:
    """An element svg; `label` says what it shows to those who do not see it."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(_SETTINGS, after_reset=True):
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), dpi=72)
        axes = figure.add_axes((0.11, 0.11, 0.86, 0.85))
        for line in lines:
            _plot(axes, line, with_band=len(lines) <= BANDS)
        axes.set_xlim(0, max(1, *(line.curve.buckets[-1].last for line in lines)))
        _set_ticks(axes, is_log=is_log, is_share=is_share)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True)
    content = joined(
        [_of_page(file.getvalue()), *(dot for line in lines for dot in _dots(axes, line))]
    )
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return element("svg", content, viewBox=box, role="img", aria_label=label)


def _plot(axes: "Axes", line: Line, *, with_band: bool) -> None:
    buckets, colour = line.curve.buckets, LIGHT[f"c{line.colour % COLOURS}"]
    steps = [bucket.step for bucket in buckets]
    if with_band and line.curve.largest_bucket > 1:
        around = [each.highest for each in buckets] + [each.lowest for each in buckets[::-1]]
        axes.fill(steps + steps[::-1], around, color=colour, alpha=0.2, linewidth=0)
    dashes = DASHES[line.colour // COLOURS % len(DASHES)]
    axes.plot(steps, [bucket.mean for bucket in buckets], color=colour, linestyle=dashes)


def _set_ticks(axes: "Axes", *, is_log: bool, is_share: bool) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator

    def written(value: float, _: object) -> str:
        if is_share:
            return f"{100 * value:g}%"
        return exponent(f"{value:.6e}" if 0 < value < 0.001 else f"{value:g}")

    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if is_log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        # Powers of ten alone would be one or two.
        within = (1, 3) if high < 1000 * low else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=within, numticks=6))
        axes.minorticks_off()
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    top = axes.get_ylim()[1]
    if is_log or is_share or top < 0.001:
        axes.yaxis.set_major_formatter(FuncFormatter(written))
    elif top >= 10_000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _of_page(svg: str) -> Markup:
    """What a file of matplotlib's draws, in colours that follow the page.

    Without the head, of which the style would be the whole page's, and without ids, which would be
    those of every chart.
    """
    start, end = svg.index("</defs>") + len("</defs>"), svg.rindex("<defs>")
    text = re.sub(r' (id|clip-path)="[^"]*"', "", svg[start:end])
    # Tenths of a pixel; what an axis is labelled with is followed by neither.
    text = re.sub(r'\d+\.\d\d+(?=[ "])', lambda number: f"{float(number[0]):.1f}", text)
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return Markup(text)


def _dots(axes: "Axes", line: Line) -> Iterator[Markup]:
    """By hand: matplotlib's have no title, which a browser shows where the pointer is."""
    buckets, name = line.curve.buckets, f"c{line.colour % COLOURS}"
    if len(buckets) > 1 and not (line.is_marked and len(buckets) <= _MANY):
        return
    style = f"fill: var(--{name}, {LIGHT[name]})"
    for bucket in buckets:
        x, y = axes.transData.transform((bucket.step, bucket.mean))
        told = element("title", f"{line.name}, step {bucket.last:,}: {shown(bucket.mean)}")
        yield element("circle", told, cx=f"{x:.1f}", cy=f"{_HEIGHT - y:.1f}", r=2.5, style=style)
