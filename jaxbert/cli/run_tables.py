"""Figures of runs on the terminal, and as JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxbert.cli.figures import ANY_WIDTH
from jaxbert.experiment.grid import short_keys
from jaxbert.report.comparison import MISSING, Comparison, Score
from jaxbert.report.comparison_page import option_text, spread_text
from jaxbert.report.numbers import NOTHING, percent, shown
from jaxbert.report.reading import Run
from jaxbert.report.run_page import described, outcome, speed, training_loss

_FEW = 6
"""Values of a run that are read beside each other however few runs there are."""


def print_run(run: Run, scores: dict[str, Score]) -> None:
    """What evaluation came to, and how training went."""
    console = Console()
    console.print(Text(f"{run.place}: {described(run)}"), soft_wrap=True)
    table = Table("figure")
    for name in ("final", "at step", "best", "at step"):
        table.add_column(name, justify="right")
    for name, score in scores.items():
        best, step = "", ""
        if score.best is not None and score.best_step is not None:
            best, step = shown(score.best), f"{score.best_step:,}"
        table.add_row(Text(name), shown(score.final), f"{score.step:,}", best, step)
    loss, tokens = training_loss(run), speed(run)
    if loss is not None:
        table.add_row("training loss", shown(loss), f"{run.step:,}")
    if tokens is not None:
        table.add_row("tokens per second", shown(round(tokens)))
    if times := run.times:
        table.add_row("goodput", percent(times["goodput"]))
    if table.row_count:
        console.print(table)


def print_comparison(comparison: Comparison) -> None:
    """The options in which runs differ, and what evaluation came to.

    A row a run, or a column. Where a terminal has no room for their names the runs are numbered,
    and the names stand below; of many, the last metrics and options may be left out.
    """
    console = Console()
    width, wide = console.width if console.is_terminal else ANY_WIDTH, Console(width=ANY_WIDTH)
    for layout in _layouts(comparison):
        # The last one is taken as it is: what has no room in it is folded.
        if wide.measure(layout.table).maximum <= width:
            break
    (console if console.is_terminal else wide).print(layout.table)
    if any(comparison.best[name] for name in comparison.metrics if name not in layout.left_out):
        console.print("* the best value of a metric")
    if layout.is_numbered:
        for number, run in enumerate(comparison.runs, 1):
            console.print(Text(f"{number}: {run.name}"), soft_wrap=True)
    if layout.left_out:
        names = Text(", ".join(layout.left_out))
        console.print("on the page, and in what --json prints, also", names, soft_wrap=True)


@dataclass(frozen=True)
class _Layout:
    """A way to lay out a comparison."""

    table: Table
    is_numbered: bool
    """Whether runs have numbers in it, and not their names."""
    left_out: list[str]
    """Options and metrics."""


def _layouts(comparison: Comparison) -> Iterator[_Layout]:
    """From the one that is read best to the one that needs the least room."""
    options, metrics = len(comparison.options), len(comparison.metrics)
    runs = len(comparison.runs) + len(comparison.groups)
    are_rows = options + metrics + 1 <= max(runs, _FEW)
    for is_numbered in (False, True):
        for each in (are_rows, not are_rows):
            yield _layout(comparison, options, metrics, is_numbered=is_numbered, are_rows=each)
    if runs <= _FEW:
        # In so few columns long values may be folded.
        yield _layout(comparison, options, metrics, is_numbered=True, are_rows=False)
        return
    fewer = [(options, number) for number in range(metrics - 1, 0, -1)]
    fewer += [(number, min(metrics, 1)) for number in range(options - 1, -1, -1)]
    for left in fewer:
        yield _layout(comparison, *left, is_numbered=True, are_rows=True)


def _layout(
    comparison: Comparison, options: int, metrics: int, *, is_numbered: bool, are_rows: bool
) -> _Layout:
    """With so many of the options, and of the metrics."""
    kept = replace(
        comparison, options=comparison.options[:options], metrics=comparison.metrics[:metrics]
    )
    left_out = comparison.options[options:] + comparison.metrics[metrics:]
    names = [*[*short_keys(comparison.options).values()][:options], *kept.metrics, "state"]
    runs = [_cells(kept, place) for place in range(len(kept.runs))]
    if is_numbered:
        runs = [[Text(str(number)), *cells[1:]] for number, cells in enumerate(runs, 1)]
    runs += [_mean_cells(kept, number) for number in range(len(kept.groups))]
    if are_rows:
        columns, rows = ["run", *names], runs
    else:
        columns = ["run" if is_numbered else "", *(run[0].plain for run in runs)]
        rows = [[Text(name), *(run[place] for run in runs)] for place, name in enumerate(names, 1)]
    table = Table()
    for place, name in enumerate(columns):
        table.add_column(Text(name), overflow="fold", justify="right" if place else "left")
    for cells in rows:
        table.add_row(*cells)
    return _Layout(table, is_numbered, left_out)


def _cells(comparison: Comparison, place: int) -> list[Text]:
    """Name, options, final values and state of a run."""
    run, scores = comparison.runs[place], comparison.scores[place]
    texts = [run.name, *(option_text(comparison, place, name) for name in comparison.options)]
    cells = [Text(text) for text in texts]
    for name in comparison.metrics:
        final = shown(scores[name].final) if name in scores else NOTHING
        cells.append(_marked(final, is_best=place in comparison.best[name]))
    return [*cells, Text(outcome(run))]


def _mean_cells(comparison: Comparison, number: int) -> list[Text]:
    """The same of runs that differ in their seed alone."""
    group, best = comparison.groups[number], comparison.best_groups
    cells = [Text(f"mean of {len(group.places)}")]
    for name in comparison.options:
        is_seed = name == "seed"
        cells.append(Text("" if is_seed else option_text(comparison, group.places[0], name)))
    for name in comparison.metrics:
        cells.append(_marked(spread_text(group, name), is_best=number in best[name]))
    return [*cells, Text("")]


def _marked(text: str, *, is_best: bool) -> Text:
    return Text(f"{text}*", style="bold") if is_best else Text(text)


def as_json(comparisons: list[Comparison]) -> str:
    """All figures of the runs, and the options in which those of a kind differ."""
    runs = [
        _run(comparison, place)
        for comparison in comparisons
        for place in range(len(comparison.runs))
    ]
    means = [
        {
            "runs": [comparison.runs[place].place for place in group.places],
            "metrics": {
                name: {"mean": figure.mean, "deviation": figure.deviation}
                for name, figure in group.figures.items()
            },
        }
        for comparison in comparisons
        for group in comparison.groups
    ]
    return json.dumps({"runs": runs, "means": means}, indent=2, allow_nan=False)


def _run(comparison: Comparison, place: int) -> dict[str, Any]:
    run = comparison.runs[place]
    return {
        "run": run.place,
        "kind": run.kind,
        "outcome": run.outcome,
        "step": run.step,
        "options": {name: _option(comparison, place, name) for name in comparison.options},
        "metrics": {
            name: {
                "final": _finite(score.final),
                "step": score.step,
                "best": _finite(score.best),
                "best_step": score.best_step,
            }
            for name, score in comparison.scores[place].items()
        },
        "training_loss": _finite(training_loss(run)),
        "tokens_per_second": _finite(speed(run)),
        "seconds": run.times.get("whole"),
        "goodput": run.times.get("goodput"),
    }


def _option(comparison: Comparison, place: int, name: str) -> Any:
    value = comparison.value(place, name)
    return None if value is MISSING else value


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None
