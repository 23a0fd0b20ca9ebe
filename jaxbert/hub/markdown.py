"""Tables and words in Markdown."""

import re
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


def read_table(lines: Sequence[str]) -> list[list[str]]:
    """The header and the rows of what `table` wrote, as the texts that went in."""
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return [[read_inline(cell) for cell in row] for row in (*rows[:1], *rows[2:])]


def read_inline(text: str) -> str:
    """The text that `inline` made a line of; an entity of its own is read as Markdown reads it."""
    return text.replace("&#124;", "|").replace("&lt;", "<").replace(r"!\[", "![")


def code(text: str) -> str:
    """A text on one line as code, whatever it is."""
    line = " ".join(text.split())
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    # Backticks at the ends are told from the fence by a blank, which is not shown.
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"
