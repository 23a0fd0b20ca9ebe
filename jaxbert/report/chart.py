"""Charts as figures of the page: a title, a legend, what `drawing.py` draws, and notes."""

from collections.abc import Iterable, Sequence
from statistics import median

from jaxbert.report.drawing import COLOURS, DASHES, Line, drawn
from jaxbert.report.elements import Markup, element

_SPREAD = 20.0
"""The greatest value as a multiple of the median from which on the axis is logarithmic."""


def chart(
    title: str, lines: Sequence[Line], *, is_share: bool = False, with_legend: bool = True
) -> Markup:
    """A figure with its title, a legend where there are several lines, and axes."""
    shown = [line for line in lines if line.curve.buckets]
    if not shown:
        return element("figure", element("figcaption", title), *_notes(lines))
    is_log = not is_share and _is_logarithmic(shown)
    caption = element("figcaption", title, element("small", " (log)") if is_log else None)
    has_legend = with_legend and len(shown) > 1
    keys = legend((line.name, line.colour) for line in shown) if has_legend else None
    label = f"{title}: {', '.join(line.name for line in shown)}"
    picture = drawn(shown, label, is_log=is_log, is_share=is_share)
    return element("figure", caption, keys, picture, *_notes(lines))


def legend(names: Iterable[tuple[str, int]]) -> Markup:
    """Names beside their colours."""
    entries = (element("li", swatch(colour), name) for name, colour in names)
    return element("ul", *entries, class_="legend")


def swatch(colour: int) -> Markup:
    """A short piece of a line in its colour."""
    dashes = colour // COLOURS % len(DASHES)
    return element("span", class_=f"swatch c{colour % COLOURS} d{dashes}")


def _is_logarithmic(lines: Sequence[Line]) -> bool:
    """Whether a few large values would press all others against the axis."""
    buckets = [bucket for line in lines for bucket in line.curve.buckets]
    greatest = max(bucket.highest for bucket in buckets)
    is_spread = greatest > _SPREAD * median(bucket.mean for bucket in buckets)
    return is_spread and min(bucket.lowest for bucket in buckets) > 0


def _notes(lines: Sequence[Line]) -> list[Markup]:
    """What the curves leave out."""
    found = []
    for line in lines:
        if line.curve.not_finite:
            first, last = line.curve.not_finite[0], line.curve.not_finite[-1]
            where = f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"
            found.append(element("p", f"{line.name}: not finite at {where}", class_="note warning"))
    return found
