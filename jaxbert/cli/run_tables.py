"""Figures of runs on the terminal, and as JSON."""

import json
import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxbert.report.comparison import Comparison, Score
from jaxbert.report.comparison_page import group_name, option_text, spread_text
from jaxbert.report.numbers import NOTHING, percent, shown
from jaxbert.report.reading import Run
from jaxbert.report.run_page import described, speed, state, training_loss


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
    console.print(table)


def print_comparison(comparison: Comparison) -> None:
    """A row a run: the options in which they differ, and what evaluation came to."""
    console = Console()
    table = Table("run")
    for name in comparison.options:
        table.add_column(Text(name), overflow="fold")
    for name in comparison.metrics:
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_column("state")
    for place, (run, scores) in enumerate(zip(comparison.runs, comparison.scores, strict=True)):
        options = [Text(option_text(comparison, place, name)) for name in comparison.options]
        figures = [
            Text(
                shown(scores[name].final) + ("*" if place in comparison.best[name] else "")
                if name in scores
                else NOTHING,
                style="bold" if place in comparison.best[name] else "",
            )
            for name in comparison.metrics
        ]
        table.add_row(Text(run.name), *options, *figures, Text(state(run)))
    if comparison.groups:
        table.add_section()
    for group in comparison.groups:
        options = [
            Text("" if name == "seed" else option_text(comparison, group.places[0], name))
            for name in comparison.options
        ]
        spreads = [spread_text(group, name) for name in comparison.metrics]
        table.add_row(group_name(comparison, group), *options, *spreads, "")
    console.print(table)
    if any(comparison.best.values()):
        console.print("* the best of its column")


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
