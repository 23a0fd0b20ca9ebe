"""Tables in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and its rows; numbers to six digits, texts as they are but on one line."""
    lines = [columns, ["---"] * len(columns), *(map(inline, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def inline(value: Any) -> str:
    """A value on one line that is no table, HTML or picture, whatever it is."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;").replace("![", r"!\[")
