"""Curves as SVG within HTML; its colours are those of the page (`style.py`)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from jaxbert.report.axis import Axis, axis, step_axis
from jaxbert.report.curves import Bucket, Curve
from jaxbert.report.elements import Markup, element
from jaxbert.report.numbers import shown

WIDTH, HEIGHT = 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 8, 24
COLOURS = 8
_PLAIN = {"fill": "none", "stroke": "currentColor"}
"""What a line is where a mail program has dropped the style of the page."""
_MANY = 60
"""Points past which they are no longer marked one by one."""
BANDS = 4
"""Lines past which the extremes around them would hide each other."""
_SPREAD = 20.0
"""The greatest value as a multiple of the median from which on the axis is logarithmic."""


@dataclass(frozen=True)
class Line:
    """A curve and how it is drawn."""

    name: str
    curve: Curve
    colour: int
    is_marked: bool = False
    """Evaluations: a dot at each of them."""


def chart(
    title: str, lines: Sequence[Line], *, is_share: bool = False, with_legend: bool = True
) -> Markup:
    """A figure with its title, a legend where there are several lines, and axes."""
    drawn = [line for line in lines if line.curve.buckets]
    if not drawn:
        return element("figure", element("figcaption", title), *_notes(lines))
    buckets = [bucket for line in drawn for bucket in line.curve.buckets]
    with_bands = len(drawn) <= BANDS
    values = _values(buckets, with_bands)
    is_log = not is_share and _is_logarithmic(buckets, values)
    heights = axis(values, is_log=is_log, is_share=is_share)
    scale = _Scale(step_axis(max(bucket.last for bucket in buckets)), heights)
    caption = element("figcaption", title, element("small", " (log)") if is_log else None)
    svg = element(
        "svg",
        *_grid(scale),
        *(mark for line in drawn for mark in _marks(line, scale, with_band=with_bands)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}: {', '.join(line.name for line in drawn)}",
    )
    has_legend = with_legend and len(drawn) > 1
    keys = legend((line.name, line.colour) for line in drawn) if has_legend else None
    return element("figure", caption, keys, svg, *_notes(lines))


def legend(names: Iterable[tuple[str, int]]) -> Markup:
    """Names beside their colours."""
    entries = (element("li", swatch(colour), name) for name, colour in names)
    return element("ul", *entries, class_="legend")


def swatch(colour: int) -> Markup:
    """A short piece of a line in its colour."""
    line = element("line", x1=0, y1=5, x2=18, y2=5, class_=_classes("line", colour))
    return element("svg", line, class_="swatch", viewBox="0 0 18 10", aria_hidden="true")


@dataclass(frozen=True)
class _Scale:
    steps: Axis
    heights: Axis

    def x(self, step: float) -> float:
        return round(_LEFT + self.steps.share(step) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        inner = HEIGHT - _TOP - _BOTTOM
        return round(HEIGHT - _BOTTOM - self.heights.share(value) * inner, 1)


def _values(buckets: Sequence[Bucket], with_bands: bool) -> list[float]:
    if not with_bands:
        return [bucket.mean for bucket in buckets]
    return [value for bucket in buckets for value in (bucket.lowest, bucket.highest)]


def _is_logarithmic(buckets: Sequence[Bucket], values: Sequence[float]) -> bool:
    """Whether a few large values would press all others against the axis."""
    if not values or min(values) <= 0:
        return False
    return max(values) > _SPREAD * median(bucket.mean for bucket in buckets)


def _grid(scale: _Scale) -> list[Markup]:
    marks = []
    for value, text in scale.heights.ticks:
        y = scale.y(value)
        marks.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        marks.append(element("text", text, x=_LEFT - 6, y=y + 3.5, text_anchor="end"))
    for value, text in scale.steps.ticks:
        x = scale.x(value)
        marks.append(element("text", text, x=x, y=HEIGHT - 8, text_anchor="middle"))
    floor = HEIGHT - _BOTTOM
    marks.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=floor, y2=floor, class_="axis"))
    return marks


def _marks(line: Line, scale: _Scale, *, with_band: bool) -> list[Markup]:
    buckets = line.curve.buckets
    marks = []
    if with_band and any(bucket.number > 1 for bucket in buckets):
        upper = _path(buckets, scale, lambda bucket: bucket.highest)
        lower = _path(buckets[::-1], scale, lambda bucket: bucket.lowest)
        colour = f"band c{line.colour % COLOURS}"
        marks.append(element("path", d=f"M{upper}L{lower}Z", class_=colour, fill_opacity=0.2))
    path = _path(buckets, scale, lambda bucket: bucket.mean)
    marks.append(element("path", d=f"M{path}", class_=_classes("line", line.colour), **_PLAIN))
    if len(buckets) == 1 or (line.is_marked and len(buckets) <= _MANY):
        marks += [_dot(line, bucket, scale) for bucket in buckets]
    return marks


def _path(buckets: Sequence[Bucket], scale: _Scale, value: Callable[[Bucket], float]) -> str:
    return " ".join(f"{scale.x(bucket.step):g},{scale.y(value(bucket)):g}" for bucket in buckets)


def _dot(line: Line, bucket: Bucket, scale: _Scale) -> Markup:
    told = element("title", f"{line.name}, step {bucket.last:,}: {shown(bucket.mean)}")
    x, y = scale.x(bucket.step), scale.y(bucket.mean)
    circle = element("circle", cx=x, cy=y, r=2.5, class_=f"dot c{line.colour % COLOURS}")
    return element("g", circle, told)


def _classes(kind: str, colour: int) -> str:
    """Past the last colour they come again, with another kind of dashes."""
    return f"{kind} c{colour % COLOURS} d{colour // COLOURS % 3}"


def _notes(lines: Sequence[Line]) -> list[Markup]:
    """What the curves leave out."""
    found = []
    for line in lines:
        if line.curve.not_finite:
            first, last = line.curve.not_finite[0], line.curve.not_finite[-1]
            where = f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"
            found.append(element("p", f"{line.name}: not finite at {where}", class_="note warning"))
    return found
