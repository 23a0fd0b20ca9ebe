"""A table of named numbers on standard output."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from jaxbert.experiment.spread import Figure


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


def shown(value: float) -> str:
    """A number for people."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3e}"
