"""Rows of a table as single sentences or pairs, with or without labels."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jaxbert.config import nearest
from jaxbert.data.tables import Row, whole_rows
from jaxbert.errors import UserError


@dataclass(frozen=True)
class SentenceColumns:
    """Which columns of a table hold what."""

    text: str = "sentence"
    text_pair: str | None = None
    """Second sentence; null: single sentences."""
    label: str = "label"
    names: tuple[str, ...] | None = None
    """Column names of a CSV or TSV file that has no header."""

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
        found = type(value).__name__
        raise UserError(
            f"{row.file}:{row.line}: {column!r} is {found}, expected text; correct or remove"
            " the row, or name another column"
        )
    return value


def read_sentences(spec: str, columns: SentenceColumns, *, labelled: bool) -> Iterator[Row]:
    """Rows of a table as they come; a malformed one is a UserError, so that every row counts."""
    wanted = [columns.text, columns.text_pair, columns.label if labelled else None]
    names = [name for name in wanted if name is not None]
    return whole_rows(spec, columns=names, names=columns.names)


def label_names(sentences: Sentences) -> tuple[str, ...]:
    """The labels that occur: by value where all are whole numbers, else by name."""
    found = {_label_name(row, sentences.columns.label) for row in sentences.rows}
    if all(re.fullmatch(r"-?[0-9]+", name) for name in found):
        # The spelling decides between 1 and 01: the order of a set is another in every process.
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def class_indices(sentences: Sentences, labels: Sequence[str]) -> np.ndarray:
    """int32 [rows]: the index in `labels` of every row's label."""
    index = {name: number for number, name in enumerate(labels)}
    column, found = sentences.columns.label, []
    for row in sentences.rows:
        name = _label_name(row, column)
        if name not in index:
            raise UserError(
                f"{row.file}:{row.line}: label {name!r} is none of the model's: "
                f"{nearest(name, list(labels))}; correct or remove the row"
            )
        found.append(index[name])
    return np.array(found, np.int32)


def label_values(sentences: Sentences) -> np.ndarray:
    """float32 [rows]: labels as finite numbers."""
    column, found = sentences.columns.label, []
    for row in sentences.rows:
        try:
            value = float(row.values[column])
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise UserError(
                f"{row.file}:{row.line}: {column!r} is {row.values[column]!r}, expected a number; "
                "correct or remove the row (for classes set task.regression=false)"
            )
        found.append(value)
    return np.array(found, np.float32)


def _label_name(row: Row, column: str) -> str:
    value = row.values[column]
    if value is None or value == "" or isinstance(value, float | list | dict):
        raise UserError(
            f"{row.file}:{row.line}: {column!r} is {value!r}, expected the name or whole number of "
            "a class; correct or remove the row (for numbers to predict set task.regression=true)"
        )
    return str(value)
