"""A table of named numbers on standard output."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_figures(title: str, figures: Mapping[str, float]) -> None:
    """Counts in full, everything else with four decimals or, where it is small, four digits."""
    table = Table("figure", title=Text(title))
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, shown(value))
    Console().print(table)


def shown(value: float) -> str:
    """A number for people."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3e}"
