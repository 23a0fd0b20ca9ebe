"""Figures of runs on the terminal, and as JSON."""

import json
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxbert.report.comparison import Comparison, Score
from jaxbert.report.comparison_page import option_text, spread_text
from jaxbert.report.numbers import NOTHING, percent, shown
from jaxbert.report.reading import Run
from jaxbert.report.run_page import described, outcome, speed, training_loss

_FEW = 6
"""Columns that a terminal has room for."""


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
    """The options in which runs differ, and what evaluation came to: a row a run, or a column."""
    names = [*_last_words(comparison.options), *comparison.metrics, "state"]
    runs = [_cells(comparison, place) for place in range(len(comparison.runs))]
    runs += [_mean_cells(comparison, number) for number in range(len(comparison.groups))]
    if len(names) <= max(len(runs), _FEW):
        columns, rows = ["run", *names], runs
    else:
        columns = ["", *(run[0].plain for run in runs)]
        rows = [[Text(name), *(run[place] for run in runs)] for place, name in enumerate(names, 1)]
    table = Table()
    for place, name in enumerate(columns):
        table.add_column(Text(name), overflow="fold", justify="right" if place else "left")
    for cells in rows:
        table.add_row(*cells)
    console = Console()
    console.print(table)
    if any(comparison.best.values()):
        console.print("* the best value of a metric")


def _last_words(options: Sequence[str]) -> list[str]:
    """learning_rate for optimizer.learning_rate, where no other option is called so."""
    last = [name.rpartition(".")[2] for name in options]
    return [
        short if last.count(short) == 1 else name for short, name in zip(last, options, strict=True)
    ]


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
        "options": {name: comparison.values[place].get(name) for name in comparison.options},
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


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None
