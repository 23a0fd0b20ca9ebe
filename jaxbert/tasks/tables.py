"""What a task tells of an evaluation beyond its metrics: tables for people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MANY = 20
"""Rows of a table that people still read."""

Cell = str | int | float
Counts = NDArray[np.integer]


@dataclass(frozen=True)
class Table:
    """Columns with names, rows of as many values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def class_table(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], names: Sequence[str]
) -> Table:
    """Precision, recall and F1 of every class, and what it is most often taken for.

    Of more than `MANY` classes those that cost the most mistakes.
    """
    size = len(names)
    right = np.bincount(labels[labels == predictions], minlength=size)
    there, given = (np.bincount(values, minlength=size) for values in (labels, predictions))
    scores = precision_recall_f1(right, given, there)
    costs = there + given - 2 * right
    chosen = np.argsort(-costs, kind="stable")[:MANY] if size > MANY else np.arange(size)

    def row(place: int) -> tuple[Cell, ...]:
        wrong = np.bincount(predictions[(labels == place) & (predictions != place)], minlength=size)
        other = f"{names[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else ""
        return names[place], int(there[place]), *scores[place].tolist(), other

    title = "Classes" if size <= MANY else f"The {MANY} classes of {size:,} with the most mistakes"
    columns = ("class", "examples", "precision", "recall", "F1", "taken for")
    return Table(title, columns, tuple(row(int(place)) for place in chosen))


def mistakes(columns: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> Table:
    """The first rows of what is ordered from the worst mistake on."""
    shown = tuple(row for row, _ in zip(rows, range(MANY), strict=False))
    return Table("Worst mistakes", columns, shown)


def precision_recall_f1(right: Counts, given: Counts, there: Counts) -> NDArray[np.float64]:
    """[classes, 3] from what was predicted rightly, was predicted, and is there; 0.0 for 0 / 0."""
    parts = np.stack([right, right, 2 * right], axis=-1).astype(np.float64)
    wholes = np.stack([given, there, given + there], axis=-1)
    return np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
