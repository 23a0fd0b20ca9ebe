"""Columns of a table to token features: single sentences or pairs, with or without labels."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbert.config import nearest
from jaxbert.data.problems import Problems
from jaxbert.data.reading import Reading, encode
from jaxbert.data.tables import Row, read_rows
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import Tokenizer

HARMLESS = frozenset({"invalid UTF-8", "invalid Unicode", "long line"})
"""Problems that leave the row usable; with any other a row would be missing."""


@dataclass(frozen=True)
class SentenceColumns:
    """Which columns of a table hold what."""

    text: str = "sentence"
    text_pair: str | None = None
    """Second sentence; null: single sentences."""
    label: str = "label"
    names: tuple[str, ...] | None = None
    """Column names of a CSV or TSV file that has no header."""


@dataclass(frozen=True)
class Sentences:
    """A table as it was read, in its order."""

    rows: tuple[Row, ...]
    columns: SentenceColumns
    problems: Problems

    @property
    def texts(self) -> list[str]:
        """First sentences."""
        return [self._text(row, self.columns.text) for row in self.rows]

    @property
    def pairs(self) -> list[str] | None:
        """Second sentences; None for single sentences."""
        name = self.columns.text_pair
        return None if name is None else [self._text(row, name) for row in self.rows]

    @staticmethod
    def _text(row: Row, column: str) -> str:
        value = row.values[column]
        if not isinstance(value, str):
            found = type(value).__name__
            raise UserError(
                f"{row.file}:{row.line}: {column!r} is {found}, expected text; correct or remove"
                " the row, or name another column"
            )
        return value


def read_sentences(spec: str, columns: SentenceColumns, *, labelled: bool) -> Sentences:
    """Reads a whole table; a malformed row is a UserError, so that every row counts."""
    wanted = [columns.text, columns.text_pair, columns.label if labelled else None]
    problems = Problems()
    names = [name for name in wanted if name is not None]
    rows = tuple(read_rows(spec, columns=names, names=columns.names, problems=problems))
    for kind, problem in problems.first.items():
        if kind not in HARMLESS:
            raise UserError(
                f"{problem.file}:{problem.line}: {problem.detail} ({problems.counts[kind]} such "
                "rows); correct or remove them, so that every row counts"
            )
    if not rows:
        raise UserError(f"{spec}: no rows")
    return Sentences(rows, columns, problems)


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


def token_features(tokenizer: Tokenizer, sentences: Sentences, reading: Reading) -> dict[str, Any]:
    """The features that `data.reading.encode` makes: an example a row, or several with windows."""
    return encode(tokenizer, sentences.texts, sentences.pairs, reading)


def _label_name(row: Row, column: str) -> str:
    value = row.values[column]
    if value is None or value == "" or isinstance(value, float | list | dict):
        raise UserError(
            f"{row.file}:{row.line}: {column!r} is {value!r}, expected the name or whole number of "
            "a class; correct or remove the row (for numbers to predict set task.regression=true)"
        )
    return str(value)
