import re

import pytest
from report.written_runs import Page

from jaxbert.report.chart import chart
from jaxbert.report.curves import Curve
from jaxbert.report.drawing import Line

EVIL = '_$x_1$ <b>"&'


def line_of(values, *, limit: int = 400, every: int = 1, name: str = "a", **drawn) -> Line:
    curve = Curve(limit=limit)
    for place, value in enumerate(values, 1):
        curve.add(place * every, value)
    return Line(name, curve, **{"colour": 0} | drawn)


def ticks_of(text: str, anchor: str) -> list[str]:
    """Those of the steps are centred ("middle"), those of the values end at the axis."""
    return re.findall(rf"<text [^>]*text-anchor: {anchor}\b[^>]*>([^<]+)</text>", text)


@pytest.mark.parametrize(
    ("values", "is_share", "ticks"),
    [
        ([0.31, 0.44], False, ["0.35", "0.40"]),
        ([0.0, 1e-4], False, ["0", "2e-5", "4e-5", "6e-5", "8e-5", "1e-4"]),
        ([0.02, 0.2], True, ["5%", "10%", "15%", "20%"]),
        ([2e5, 1e6], False, ["200k", "400k", "600k", "800k", "1M"]),
        ([1000.1, 1000.3], False, ["1000.10", "1000.15", "1000.20", "1000.25", "1000.30"]),
        ([0.1, 0.1, 0.1, 0.1, 7.0], False, ["0.1", "0.3", "1", "3"]),
    ],
)
def test_values_are_written_short_and_in_a_unit_that_fits(values, is_share, ticks):
    text = chart("x", [line_of(values)], is_share=is_share)
    assert ticks_of(text, "end") == ticks
    assert ("(log)" in text) == (values[0] == values[1])


@pytest.mark.parametrize(
    ("number", "every", "ticks"),
    [
        (1, 1, ["0", "1"]),
        (2, 1, ["0", "1", "2"]),
        (9, 100, ["0", "200", "400", "600", "800"]),
        (5, 200_000, ["0", "200k", "400k", "600k", "800k", "1M"]),
    ],
)
def test_steps_are_counted_from_nothing_in_whole_ones(number, every, ticks):
    text = chart("x", [line_of([1.0] * number, every=every)])
    assert ticks_of(text, "middle") == ticks


def test_a_line_goes_through_its_points_and_its_band_through_the_extremes():
    text = chart("loss", [line_of((1.0, 5.0, 2.0, 2.0), limit=2)])
    paths = re.findall(r'<path d="([^"]+)" style="([^"]+#3568b0[^"]*)"', text)
    (band, filled), (line, stroked) = paths
    assert "fill: var(--c0, #3568b0)" in filled
    assert "stroke: var(--c0, #3568b0)" in stroked
    heights = [
        [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)] for path in (band, line)
    ]
    # Up is less: the band reaches over the means.
    assert min(heights[0]) < min(heights[1]) <= max(heights[1]) < max(heights[0])


def test_an_evaluation_is_a_dot_that_tells_its_value_where_the_line_is():
    text = chart("loss", [line_of((3.0, 1.0, 2.0), name=EVIL, every=10, is_marked=True)])
    read = Page(text)
    assert f"{EVIL}, step 20: 1.000" in read.texts
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', text)
    [line] = re.findall(r'd="([^"]+)" style="fill: none; stroke: var\(--c0', text)
    points = re.findall(r"[ML] ([\d.]+) ([\d.]+)", line)
    assert [[*map(float, each)] for each in dots] == [[*map(float, each)] for each in points]
    assert dict(read.attributes)["aria-label"] == f"loss: {EVIL}"


def test_charts_have_the_colours_of_the_page_alone_and_nothing_that_others_would_meet():
    lines = [line_of([n, 2.0], name=str(n), colour=n) for n in range(10)]
    text = chart("x", lines)
    assert chart("x", lines) == text
    assert {*re.findall(r"#\w+", re.sub(r"var\(--\w+, #\w+\)", "", text))} == set()
    assert not {"style", "defs", "use", "metadata"} & {*Page(text).tags}
    assert not {"id", "clip-path"} & dict(Page(text).attributes).keys()
    # Past the last colour, other dashes.
    assert text.count("stroke-dasharray") == 2
