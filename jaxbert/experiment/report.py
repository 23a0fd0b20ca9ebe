"""The report of a fine-tuning run, for the one who made it: it quotes the validation data."""

from collections.abc import Mapping, Sequence

from jaxbert.disk import write_whole
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.hub.markdown import inline, table
from jaxbert.tasks.tables import Cell, Table

LONGEST = 200
"""Characters of a text that are quoted."""


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


def _shortened(cell: Cell) -> Cell:
    is_long = isinstance(cell, str) and len(cell) > LONGEST
    return f"{cell[:LONGEST]} ..." if is_long and isinstance(cell, str) else cell
