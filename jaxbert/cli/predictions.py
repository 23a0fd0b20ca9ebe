"""Predictions as lines of a file: JSON objects, or rows of a table."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbert.cli.output import takes_all_characters
from jaxbert.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_END = "\r\n"


def most_probable(prediction: Mapping[str, Any], top_k: int | None) -> dict[str, Any]:
    """With the `top_k` most probable classes or answers alone, or heaviest words, the best first.

    Raises UserError for predictions that have neither.
    """
    cut = dict(prediction)
    if top_k is None:
        return cut
    probabilities = cut.get("probabilities")
    if isinstance(probabilities, Mapping):
        ranked = sorted(probabilities.items(), key=lambda entry: -entry[1])
        cut["probabilities"] = dict(ranked[:top_k])
    elif isinstance(cut.get("embedding"), Mapping):
        cut["embedding"] = dict([*cut["embedding"].items()][:top_k])
    elif "n_best" in cut:
        cut["n_best"] = cut["n_best"][:top_k]
    else:
        raise UserError(
            f"--top-k {top_k}: what this model predicts ({', '.join(cut)}) has neither classes nor "
            "answers to choose from: leave it out"
        )
    return cut


def lines_of(
    predictions: Iterable[Mapping[str, Any]],
    out: Path | None,
    example: Callable[[], Mapping[str, Any]] | None = None,
) -> Iterator[str]:
    """CSV or TSV where `out` is called so, else JSON lines.

    A table has the columns of the first prediction, or of the `example` where there is none,
    `probability` of a label among them; what is not a number or a text is JSON in its cell. TSV is
    written as it is read, without quoting: tabs and line breaks in a text are blanks.
    """
    delimiter = None if out is None else DELIMITERS.get(out.suffix.lower())
    if delimiter is None:
        # Where standard output takes no other characters they are escapes, in the words of JSON.
        is_ascii = out is None and not takes_all_characters()
        return (json.dumps(prediction, ensure_ascii=is_ascii) for prediction in predictions)
    return _table(predictions, delimiter, example)


def _table(
    predictions: Iterable[Mapping[str, Any]],
    delimiter: str,
    example: Callable[[], Mapping[str, Any]] | None,
) -> Iterator[str]:
    columns: list[str] = []
    for prediction in predictions:
        row = _flat(prediction)
        if not columns:
            columns = list(row)
            yield _line(columns, delimiter)
        yield _line([row.get(column, "") for column in columns], delimiter)
    if not columns and example is not None:
        yield _line([*_flat(example())], delimiter)


def _flat(prediction: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in prediction.items():
        if name == "probabilities" and "label" in prediction:
            row["probability"] = value[prediction["label"]]
        row[name] = value if isinstance(value, str | int | float) else _json(value)
    return row


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _line(cells: list[Any], delimiter: str) -> str:
    if delimiter == "\t":
        return delimiter.join(re.sub(r"[\t\r\n]", " ", str(cell)) for cell in cells)
    buffer = io.StringIO()
    # Up to Python 3.12 only what may end a line is quoted: line breaks within a text, too.
    csv.writer(buffer, delimiter=delimiter, lineterminator=_END).writerow(cells)
    return buffer.getvalue().removesuffix(_END)
