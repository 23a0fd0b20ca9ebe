"""Rows of a table as single sentences or pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxbert.data.tables import Row, whole_rows
from jaxbert.errors import UserError, kind_of


@dataclass(frozen=True)
class SentenceColumns:
    """Which columns of a table hold what."""

    text: str = "sentence"
    """The sentence, or the first of two."""
    text_pair: str | None = None
    """Second sentence; null: single sentences."""
    label: str | tuple[str, ...] = "label"
    """With several labels a row also columns of 0 and 1, which the labels are named after."""
    names: tuple[str, ...] | None = None
    """Column names of a CSV or TSV file that has no header."""
    label_separator: str = ","
    """Between several labels in one column of text."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What prediction reads."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)


@dataclass(frozen=True)
class Sentences:
    """Rows of a table, and what their columns mean."""

    rows: Sequence[Row]
    columns: SentenceColumns

    @property
    def texts(self) -> list[str]:
        """First sentences."""
        return [text_of(row, self.columns.text) for row in self.rows]

    @property
    def pairs(self) -> list[str] | None:
        """Second sentences; None for single sentences."""
        name = self.columns.text_pair
        return None if name is None else [text_of(row, name) for row in self.rows]


def text_of(row: Row, column: str) -> str:
    """A value that must be text; UserError where it is not."""
    value = row.values[column]
    if not isinstance(value, str):
        raise UserError(
            f"{row.place}: {column!r} is {kind_of(value)}, expected text; correct or "
            "remove the row, or name another column"
        )
    return value


def read_sentences(spec: str, columns: SentenceColumns, *, labelled: bool) -> Iterator[Row]:
    """Rows of a table as they come; a malformed one is a UserError, so that every row counts."""
    label = (columns.label,) if isinstance(columns.label, str) else columns.label
    wanted = [columns.text, columns.text_pair, *(label if labelled else ())]
    names = [name for name in wanted if name is not None]
    return whole_rows(spec, columns=names, names=columns.names, labelled=labelled)
