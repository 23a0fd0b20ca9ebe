"""Labels of rows: one class, several labels, or a number."""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from jaxbert.data.tables import Row
from jaxbert.errors import UserError, nearest
from jaxbert.tasks.sentences import SentenceColumns, Sentences

log = logging.getLogger(__name__)
_SHOWN = 3
_LARGEST = float(np.finfo(np.float32).max)


def label_names(sentences: Sentences) -> tuple[str, ...]:
    """As a data set names the numbers that its rows have, all of them and in its order.

    Else the classes that occur: by value where all are whole numbers, else by name.
    """
    column = _column(sentences)
    found = _sorted(_label_name(row, column) for row in sentences.rows)
    named = sentences.rows[0].classes.get(column, ()) if sentences.rows else ()
    # Names that are numbers themselves ("1" to "5") would be taken for the values of rows.
    is_named = all(map(_is_whole, found)) and not any(map(_is_whole, named))
    return named if named and is_named else found


def label_set_names(sentences: Sentences) -> tuple[str, ...]:
    """The labels that occur where a row may have several; those of columns as they are given."""
    if not isinstance(sentences.columns.label, str):
        return sentences.columns.label
    return _sorted(name for row in sentences.rows for name in _label_set(row, sentences.columns))


def class_indices(sentences: Sentences, labels: Sequence[str]) -> np.ndarray:
    """int32 [rows]: the index in `labels` of every row's class, which is a name or the index.

    Of a data set that names its numbers, and has names of `labels` among them, it is the name that
    counts: two sets may number the same classes in other orders.
    """
    places, column = _places(labels), _column(sentences)
    folded = {name.casefold(): name for name in labels}

    @cache
    def is_of_labels(named: tuple[str, ...]) -> bool:
        # Names that are numbers themselves would be taken for the values of rows.
        return not any(map(_is_whole, named)) and any(one.casefold() in folded for one in named)

    def name_of(row: Row) -> str:
        name, named = _label_name(row, column), row.classes.get(column, ())
        if not (_is_whole(name) and 0 <= int(name) < len(named) and is_of_labels(named)):
            return name
        own = named[int(name)]
        return own if own in places else folded.get(own.casefold(), own)

    names = [name_of(row) for row in sentences.rows]
    _check_known(zip(sentences.rows, names, strict=True), places, labels)
    return np.array([places[name] for name in names], np.int32)


def label_matrix(sentences: Sentences, labels: Sequence[str]) -> np.ndarray:
    """float32 [rows, labels]: 1 for the labels of a row, which are names or indices."""
    places = _places(labels)
    found = [_label_set(row, sentences.columns) for row in sentences.rows]
    pairs = zip(sentences.rows, found, strict=True)
    _check_known(((row, name) for row, names in pairs for name in names), places, labels)
    matrix = np.zeros((len(found), len(labels)), np.float32)
    for number, names in enumerate(found):
        matrix[number, [places[name] for name in names]] = 1.0
    return matrix


def label_values(sentences: Sentences, advice: str = "") -> np.ndarray:
    """float32 [rows]: labels as finite numbers; UserError for one that float32 does not hold.

    `advice` is what the message ends with.
    """
    column, found = _column(sentences), []
    for row in sentences.rows:
        try:
            value = float(row.values[column])
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        # What float32 cannot hold would be infinite in a batch, and stop the run at its first loss.
        if not abs(value) <= _LARGEST:
            limit = " that float32 holds" if math.isfinite(value) else ""
            raise UserError(
                f"{row.place}: {column!r} is {row.values[column]!r}, expected a number"
                f"{limit}; correct or remove the row{advice}"
            )
        found.append(value)
    return np.array(found, np.float32)


def _column(sentences: Sentences) -> str:
    column = sentences.columns.label
    if not isinstance(column, str):
        raise UserError("columns.label: several columns are for several labels a row; name one")
    return column


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    found = set(names)
    _warn_of_twins(found)
    if all(_is_whole(name) for name in found):
        # The spelling decides between 1 and 01: the order of a set is another in every process.
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def _warn_of_twins(names: Iterable[str]) -> None:
    """One warning where names look like one and the same, which a model would tell apart."""
    twins: dict[str, list[str]] = {}
    for name in sorted(names):
        twins.setdefault(" ".join(name.split()).casefold(), []).append(name)
    doubled = [", ".join(map(repr, found)) for found in twins.values() if len(found) > 1]
    if doubled:
        log.warning(
            "labels that differ in nothing but white space or capitals are different classes: %s%s;"
            " make them equal if they mean the same",
            "; ".join(doubled[:_SHOWN]),
            f" and {len(doubled) - _SHOWN:,} more" if doubled[_SHOWN:] else "",
        )


def _is_whole(name: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", name) is not None


def _places(labels: Sequence[str]) -> dict[str, int]:
    """Index by name; also by number, where no name is one."""
    places = {name: place for place, name in enumerate(labels)}
    if not any(map(_is_whole, labels)):
        places |= {str(place): place for place in range(len(labels))}
    return places


def _check_known(
    found: Iterable[tuple[Row, str]], places: Mapping[str, int], labels: Sequence[str]
) -> None:
    unknown = [(row, name) for row, name in found if name not in places]
    if not unknown:
        return
    row, name = unknown[0]
    others = f" (and {len(unknown) - 1:,} more such rows)" if unknown[1:] else ""
    raise UserError(
        f"{row.place}: label {name!r} is none of the model's: "
        f"{nearest(name, list(labels))}; correct or remove the row{others}, or train with "
        "task.labels that name it"
    )


def _label_name(row: Row, column: str) -> str:
    value = row.values[column]
    if value is None or value == "" or isinstance(value, float | list | dict | bytes):
        raise UserError(
            f"{row.place}: {column!r} is {value!r}, expected the name or whole number of "
            "a class; correct or remove the row (for numbers to predict set task.regression=true, "
            "for several labels a row task.multi_label=true)"
        )
    return str(value)


def _label_set(row: Row, columns: SentenceColumns) -> list[str]:
    if not isinstance(columns.label, str):
        return [name for name in columns.label if _flag(row, name)]
    value = row.values[columns.label]
    if value is None or value == "":
        return []
    if isinstance(value, str):
        if _PRINTED_LIST.fullmatch(value):
            raise UserError(
                f"{row.place}: {columns.label!r} is {value!r}, a list as Python prints "
                f"it; write the labels with {columns.label_separator!r} between them, or the table "
                "as JSON lines or Parquet"
            )
        value = [part.strip() for part in value.split(columns.label_separator)]
    names = value if isinstance(value, list) else [value]
    if any(name == "" or not isinstance(name, str | int) for name in names):
        raise UserError(
            f"{row.place}: {columns.label!r} is {row.values[columns.label]!r}, expected "
            f"names or whole numbers of labels with {columns.label_separator!r} between them, or a "
            "list of them; correct or remove the row"
        )
    return [str(name) for name in names]


def _flag(row: Row, column: str) -> bool:
    value = row.values[column]
    if str(value) not in _FLAGS:
        raise UserError(
            f"{row.place}: {column!r} is {value!r}, expected 0 or 1, as columns.label "
            "names several columns; correct or remove the row"
        )
    return _FLAGS[str(value)]


_PRINTED_LIST = re.compile(r"""\[(['"0-9].*)?\]""")
"""pandas writes lists so, whose labels would be called "['joy'" and " 'love']"."""

_FLAGS = {
    **dict.fromkeys(("0", "0.0", "False", "false"), False),
    **dict.fromkeys(("1", "1.0", "True", "true"), True),
}
