"""The page of one run, or of several, as one file of HTML that needs no other."""

import datetime
from collections.abc import Sequence

from jaxbert.report import comparison_page, run_page
from jaxbert.report.comparison import compared
from jaxbert.report.curves import LIMIT
from jaxbert.report.drawing import BANDS
from jaxbert.report.elements import Markup, element
from jaxbert.report.reading import Run
from jaxbert.report.style import STYLE

_NOTHING_ELSE = "default-src 'none'; style-src 'unsafe-inline'"
"""What the page may load."""


def page_of(runs: Sequence[Run], now: datetime.datetime) -> str:
    """A page about the runs; `now` is written at its end."""
    if len(runs) == 1:
        [run] = runs
        title = run.name
        subtitle = element("p", run_page.described(run), class_="soft")
        content = [subtitle, element("p", element("code", run.place)), *run_page.parts(run)]
    else:
        title = f"{len(runs)} runs"
        content = _of_several(runs)
    heading = element("h1", title)
    body = element("body", heading, *content, element("footer", *_footer(runs, now)))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_NOTHING_ELSE),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{title} - jaxbert"),
        element("style", Markup(STYLE)),
    )
    page = f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"
    # The name of a directory may be no Unicode.
    return page.encode(errors="replace").decode()


def _of_several(runs: Sequence[Run]) -> list[Markup]:
    """One kind after another: figures of unlike kinds do not compare."""
    found = []
    comparisons = compared(runs)
    for comparison in comparisons:
        if len(comparisons) > 1:
            kind = run_page.KINDS.get(comparison.kind, comparison.kind)
            found.append(element("h2", _counted(kind, len(comparison.runs)), class_="kind"))
        if len(comparison.runs) == 1:
            [run] = comparison.runs
            found.append(element("p", f"{run.name}: {run_page.described(run)}", class_="soft"))
            found += run_page.parts(run)
        else:
            found += comparison_page.parts(comparison)
    return found


def _counted(kind: str, number: int) -> str:
    return f"{kind}: {number} run{'s' if number > 1 else ''}"


def _footer(runs: Sequence[Run], now: datetime.datetime) -> list[Markup]:
    lines = [f"Written by jaxbert report on {now:%Y-%m-%d %H:%M} UTC."]
    for comparison in compared(runs):
        number = len(comparison.runs)
        limit = comparison_page.points(number) if number > 1 else LIMIT
        curves = [curve for run in comparison.runs for curve in run.curves.values()]
        if any(each.largest_bucket > 1 or len(each.buckets) > limit for each in curves):
            lines.append(
                f"Curves of more than {limit} values are drawn in at most so many points: each is "
                "the mean over some steps, in a band from the least to the greatest value in them, "
                f"where a chart has at most {BANDS} curves. Best and final figures are exact."
            )
    return [element("p", line) for line in dict.fromkeys(lines)]
