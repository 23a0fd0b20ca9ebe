"""A table of named numbers on standard output."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

ANY_WIDTH = 10_000
"""Of a file, which is as wide as its lines."""

if TYPE_CHECKING:
    from jaxbert.experiment.spread import Figure
    from jaxbert.experiment.sweep_outcome import Choice, Outcome


def print_figures(title: str, figures: Mapping[str, float]) -> None:
    """Counts in full, everything else with four decimals or, where it is small, four digits."""
    # A line of its own: as the table's title a long path would be broken to the table's width.
    console = Console()
    console.print(Text(title), soft_wrap=True)
    table = Table("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(Text(name), shown(value))
    console.print(table)


def print_spread(title: str, seeds: Sequence[int], figures: "Mapping[str, Figure]") -> None:
    """A row a figure: mean, deviation, and the value of every seed."""
    console = Console()
    console.print(Text(title), soft_wrap=True)
    table = Table("figure")
    for name in ("mean", "deviation", *(f"seed {seed}" for seed in seeds)):
        table.add_column(name, justify="right")
    for name, figure in figures.items():
        spread = "" if figure.deviation is None else shown(figure.deviation)
        table.add_row(Text(name), shown(figure.mean), spread, *map(shown, figure.values))
    console.print(table)


def print_outcome(title: str, outcome: "Outcome") -> None:
    """A row a point: its values, the figure that chooses, the means of other evaluations.

    On a terminal of these as many as fit into a line.
    """
    choice = outcome.choice
    assert choice is not None
    names = [name for row in outcome.rows for name in row.figures if name.startswith("eval_")]
    # Figures by class, such as f1/person, are many: they are in the file.
    others = [n for n in dict.fromkeys(names) if n != choice.name and "/" not in n]
    console = Console()
    width = console.width if console.is_terminal else ANY_WIDTH
    wide = Console(width=ANY_WIDTH)
    while wide.measure(table := _table_of(outcome, choice, others)).maximum > width and others:
        others.pop()
    console.print(Text(title), soft_wrap=True)
    (console if console.is_terminal else wide).print(table)


def _table_of(outcome: "Outcome", choice: "Choice", others: Sequence[str]) -> Table:
    from jaxbert.experiment.grid import short_keys, shown_value

    first = outcome.rows[0]
    spread = ["deviation"] if len(first.runs) > 1 else []
    table = Table()
    for key in short_keys(first.values).values():
        table.add_column(Text(key))
    for name in (choice.name, *spread, *others):
        table.add_column(Text(name.removeprefix("eval_")), justify="right")
    for row in outcome.rows:
        chosen = row.chosen_by(choice)
        numbers = [chosen.mean, *([chosen.deviation] if spread else [])]
        numbers += [row.figures[name].mean if name in row.figures else None for name in others]
        values = (Text(shown_value(value)) for value in row.values.values())
        table.add_row(*values, *("" if number is None else shown(number) for number in numbers))
    return table


def shown(value: float) -> str:
    """A number for people."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3e}"
