"""The demo's figures as tables, JSON and a picture."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxbert.demo.run import Outcome


def show(outcome: Outcome, console: Console) -> None:
    """Prints the comparison, the verdict and the predictions."""
    table = Table(title=f"which library? {outcome.files.test_rows} docstrings, held-out modules")
    for column in ("model", "accuracy", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, values in _rows(outcome):
        table.add_row(name, *(f"{f(values):.3f}" for f in (np.mean, np.min, np.max)))
    console.print(table)
    beats = "beats" if outcome.margin > outcome.spread else "does NOT beat"
    console.print(
        f"Pretraining {beats} training from scratch by more than the seeds differ: "
        f"margin {outcome.margin:.3f}, largest spread of the seeds {outcome.spread:.3f}.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"The reloaded export scores {outcome.reloaded:.3f}.", highlight=False)
    predictions = Table("sentence", "library", "probability", title="predictions of the reload")
    for text, library, probability in outcome.predictions:
        predictions.add_row(text, library, f"{probability:.2f}")
    console.print(predictions)


def write(outcome: Outcome, out: Path) -> None:
    """Writes `results.json` and `accuracy.png`."""
    values = dataclasses.asdict(outcome) | {"margin": outcome.margin, "spread": outcome.spread}
    text = json.dumps(values, indent=4, default=str)
    (out / "results.json").write_text(text + "\n", encoding="utf-8")
    _draw(outcome, out / "accuracy.png")


def _rows(outcome: Outcome) -> list[tuple[str, tuple[float, ...]]]:
    seeds = len(outcome.pretrained)
    return [
        (f"pretrained, then fine-tuned ({seeds} seeds)", outcome.pretrained),
        (f"from scratch ({seeds} seeds)", outcome.scratch),
        ("always the most frequent library", (outcome.files.majority,)),
    ]


def _draw(outcome: Outcome, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for position, (name, values) in enumerate(reversed(_rows(outcome))):
        axes.barh(position, np.mean(values), color="tab:blue", alpha=0.6)
        axes.plot(values, [position] * len(values), "k|", markersize=14)
        axes.text(0.01, position, name, va="center")
    axes.set(yticks=[], xlim=(0, 1), xlabel="accuracy on held-out modules (marks: seeds)")
    figure.savefig(path)
