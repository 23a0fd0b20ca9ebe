"""The report of a fine-tuning run, for the one who made it: it quotes the validation data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxbert.disk import write_whole
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.hub.markdown import inline, read_inline, read_table, table
from jaxbert.tasks.tables import Cell, Table

LONGEST = 200
"""Characters of a text that are quoted."""


@dataclass(frozen=True)
class Section:
    """A heading of report.md and what stands below it."""

    title: str
    level: int
    """2 or 3."""
    notes: list[str]
    table: list[list[str]]
    """The header and the rows; empty: none."""


def write_report(
    run: RunDirectory,
    results: Mapping[str, float],
    notes: Sequence[str],
    tables: Mapping[str, Sequence[Table]],
) -> None:
    """Writes report.md: figures, loss curve, notes on the data, and each held-out set's tables."""
    parts = [
        f"# {run.path.resolve().name}",
        table(("figure", "value"), sorted(results.items())),
        f"![Loss over the steps]({run.loss_curve.name})",
        "## Data",
        "\n".join(f"- {inline(note)}" for note in notes),
    ]
    for name, of_set in tables.items():
        parts.append(f"## Evaluation{f': {name}' if name else ''}")
        for each in of_set:
            rows = [[_shortened(cell) for cell in row] for row in each.rows]
            parts += [f"### {each.title}", table(each.columns, rows) if rows else "None."]
    write_whole(run.report, "\n\n".join(parts) + "\n")


def read_report(file: Path) -> list[Section]:
    """What `write_report` wrote below the figures; [] without a file."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    found = re.split(r"^(##|###) (.*)$", text, flags=re.MULTILINE)[1:]
    return [_section(*found[place : place + 3]) for place in range(0, len(found), 3)]


def _section(marks: str, title: str, body: str) -> Section:
    lines = [line for line in body.split("\n") if line]
    rows = [line for line in lines if line.startswith("| ")]
    others = [line for line in lines if not line.startswith("| ")]
    notes = [read_inline(line.removeprefix("- ")) for line in others]
    return Section(title, len(marks), notes, read_table(rows))


def _shortened(cell: Cell) -> Cell:
    is_long = isinstance(cell, str) and len(cell) > LONGEST
    return f"{cell[:LONGEST]} ..." if is_long and isinstance(cell, str) else cell
