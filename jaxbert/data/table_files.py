"""Rows of CSV, TSV, JSON-lines, Parquet and text files as (line number, values by column)."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import is_
from pathlib import Path
from typing import Any, NamedTuple

from jaxbert.data.lines import Advance, carriage_returns, name_of, read_lines
from jaxbert.data.problems import LEFT_OUT, Problems
from jaxbert.errors import UserError, kind_of

Rows = Iterator[tuple[int, dict[str, Any]]]
Record = tuple[int, list[str]]
"""Line and fields; an empty line has none."""

_CSV_FIELD_LIMIT = 2**31 - 1
_NAME = re.compile(r"[\w.-]+")
_NAME_ANOTHER = "name what to read (--text-column, or `columns` in a configuration)"


class Reading(NamedTuple):
    """What a reader is told beside the file: names for a headerless one, and who listens."""

    names: Sequence[str] | None
    columns: Sequence[str] | None
    problems: Problems
    advance: Advance
    streaming: bool
    classes: dict[str, tuple[str, ...]]
    """For the reader to fill: names of the classes that stand as 0, 1, ... in a column."""


def read_tsv(file: Path, reading: Reading) -> Rows:
    """Fields between tabs, quotes being ordinary characters, as GLUE's files have them."""
    return _named(_tsv_records(file, reading), file, reading)


def _tsv_records(file: Path, reading: Reading) -> Iterator[Record]:
    for number, line in _table_lines(file, reading, with_returns=False):
        fields = line.split("\t") if line else []
        if '"' in line and any(map(_looks_quoted, fields)):
            detail = "a field looks quoted; kept with its quotes, as .tsv has no quoting"
            reading.problems.add("quoted field", str(file), number, detail)
        yield number, fields


def _looks_quoted(field: str) -> bool:
    """As spreadsheets and pandas write what holds quotes; a text in quotes has none doubled."""
    inner = field[1:-1]
    is_quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return is_quoted and '""' in inner and '"' not in inner.replace('""', "")


def read_csv(file: Path, reading: Reading) -> Rows:
    """Comma-separated fields in standard quoting; a quoted field may hold line breaks."""
    return _named(_csv_records(file, reading), file, reading)


def _csv_records(file: Path, reading: Reading) -> Iterator[Record]:
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    lines = _table_lines(file, reading, with_returns=True)
    parser = csv.reader((line + "\n" for _, line in lines), strict=True)
    while True:
        start = parser.line_num + 1
        try:
            record = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise UserError(
                    f"{file}, line {start}: a quotation mark opens here and never closes;"
                    ' close it, double it ("") or name the file .tsv if it is unquoted'
                ) from None
            # Its own words for this one are advice to who calls Python.
            is_return = str(error).startswith("new-line character")
            reason = "a carriage return in a field without quotes" if is_return else error
            if start == 1 and reading.names is None:
                raise UserError(
                    f"{file}:1: the line of column names is invalid CSV: {reason}; correct it"
                ) from None
            reading.problems.add("invalid CSV", str(file), start, f"{reason}{LEFT_OUT}")
            continue
        yield start, record


def _table_lines(file: Path, reading: Reading, *, with_returns: bool) -> Iterator[tuple[int, str]]:
    lines = read_lines(file, reading.problems, reading.advance, with_returns=with_returns)
    for number, line in lines:
        if number == 1 and "\r" in line.rstrip("\r") and reading.names is None:
            raise carriage_returns(file)
        yield number, line


def _named(records: Iterator[Record], file: Path, reading: Reading) -> Rows:
    names = reading.names
    if names is None:
        names = next((fields for _, fields in records if fields), None)
        if names is None:
            raise UserError(f"{file}: the file is empty; expected a line of column names")
    check_columns(reading.columns, names, str(file))
    for number, fields in _rows_of(records, len(names)):
        if len(fields) == len(names):
            yield number, dict(zip(names, fields, strict=True))
        else:
            detail = f"{len(fields)} fields, expected {len(names)}{LEFT_OUT}"
            reading.problems.add("wrong number of fields", str(file), number, detail)


def _rows_of(records: Iterator[Record], width: int) -> Iterator[Record]:
    """Without empty lines; of a single column they are rows, but for one that ends the file."""
    empty: Record | None = None
    for number, fields in records:
        if empty is not None:
            yield empty
        empty = (number, [""]) if width == 1 and not fields else None
        if fields:
            yield number, fields


def read_jsonl(file: Path, reading: Reading) -> Rows:
    """One JSON object a line; a line that is none, or lacks a column, is reported and left out."""
    return _json_rows(read_lines(file, reading.problems, reading.advance), file, reading)


def _json_rows(lines: Iterable[tuple[int, str]], file: Path, reading: Reading) -> Rows:
    problems, lacking, complete = reading.problems, "", False
    for number, line in lines:
        values = _json_object(line, file, number, problems) if line.strip() else None
        if values is None:
            continue
        missing = [name for name in reading.columns or () if name not in values]
        if missing:
            found = ", ".join(map(without_halves, values))
            lacking = lacking or found
            detail = f"no {', '.join(missing)} among {found}{LEFT_OUT}"
            problems.add("missing column", name_of(file), number, detail)
            continue
        complete = True
        yield number, values
    if lacking and not complete:
        wanted = ", ".join(reading.columns or ())
        raise UserError(
            f"{name_of(file)}: no row has the column {wanted}; the first row has: {lacking}: "
            f"{_NAME_ANOTHER}"
        )


def _json_object(line: str, file: Path, number: int, problems: Problems) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        if number == 1 and line.lstrip().startswith("["):
            raise UserError(_ARRAY.format(file=name_of(file))) from None
        problems.add("invalid JSON", name_of(file), number, f"{error}{LEFT_OUT}")
        return None
    if isinstance(values, list) and number == 1:
        raise UserError(_ARRAY.format(file=name_of(file)))
    if not isinstance(values, dict):
        kind = kind_of(values)
        problems.add("invalid JSON", name_of(file), number, f"a {kind}, not an object{LEFT_OUT}")
        return None
    if "\\ud" in line or "\\uD" in line:
        _replace_surrogates(values, file, number, problems)
    return values


_ARRAY = "{file}: holds one JSON array; expected one object a line (jq -c '.[]' makes it so)"


def _replace_surrogates(
    values: dict[str, Any], file: Path, number: int, problems: Problems
) -> None:
    for name, value in values.items():
        whole = without_halves(value)
        if whole is not value:
            values[name] = whole
            detail = f"{name}: half of a surrogate pair; kept with U+FFFD in its place"
            problems.add("invalid Unicode", name_of(file), number, detail)


def without_halves(value: Any) -> Any:
    """The value itself, or where a text in it has half of a surrogate pair, one without."""
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not isinstance(value, list | dict):
        return value
    inner = list(value.values()) if isinstance(value, dict) else value
    whole = [without_halves(item) for item in inner]
    if all(map(is_, whole, inner)):
        return value
    return dict(zip(value, whole, strict=True)) if isinstance(value, dict) else whole


def read_text(file: Path, reading: Reading) -> Rows:
    """A text a line, for the one column that is asked for; an empty line is an empty text."""
    column = _only_column(file, reading)
    for number, line in read_lines(file, reading.problems, reading.advance):
        yield number, {column: line}


def read_standard_input(file: Path, reading: Reading) -> Rows:
    """JSON lines where the first that is not empty begins with `{`, else a text a line.

    Never a table. An empty line is an empty text.
    """
    lines = read_lines(file, reading.problems, reading.advance)
    before: list[tuple[int, str]] = []
    for number, line in lines:
        before.append((number, line))
        if line.strip():
            break
    if not before:
        return
    first, lines = before[-1][1], chain(before, lines)
    if first.lstrip().startswith("{"):
        yield from _json_rows(lines, file, reading)
        return
    column = _only_column(file, reading)
    if any(column in names for names in _headers(first)):
        raise UserError(
            f"standard input looks like CSV or TSV: its first line has the column {column!r}; give "
            "the file itself (--data FILE.csv), or the texts alone, or JSON objects"
        )
    for number, line in lines:
        yield number, {column: line}


def _headers(line: str) -> list[list[str]]:
    """The names of several columns that a line may be; a name is a word."""
    headers = [[name.strip('"') for name in line.split(comma)] for comma in (",", "\t")]
    return [names for names in headers if len(names) > 1 and all(map(_NAME.fullmatch, names))]


def _only_column(file: Path, reading: Reading) -> str:
    columns = reading.columns or reading.names or ()
    if len(columns) != 1:
        raise UserError(
            f"{name_of(file)}: plain text has one column, expected {', '.join(columns)}: give a "
            "table, or JSON objects with these keys"
        )
    return columns[0]


def read_parquet(file: Path, reading: Reading) -> Rows:
    """Rows of a Parquet file, numbered from 1."""
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: not a readable Parquet file ({error})") from None
    with table:
        check_columns(reading.columns, table.schema_arrow.names, str(file))
        size, number = file.stat().st_size, 0
        columns = None if reading.columns is None else list(reading.columns)
        batches = table.iter_batches(batch_size=1024, columns=columns)
        while True:
            try:
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            except (pyarrow.ArrowInvalid, OSError, UnicodeDecodeError) as error:
                raise UserError(
                    f"{file}, after row {number}: damaged ({error}); fetch or write it again"
                ) from None
            if batch is None:
                return
            for values in rows:
                number += 1
                yield number, values
            reading.advance(size * batch.num_rows // table.metadata.num_rows)


def check_columns(wanted: Sequence[str] | None, found: Sequence[str], place: str) -> None:
    """Raise a UserError that lists the columns there are when a wanted one is not there once."""
    missing = [name for name in wanted or () if name not in found]
    if missing:
        raise UserError(
            f"{place}: no column {', '.join(missing)}; the columns are: {', '.join(found)}: "
            f"{_NAME_ANOTHER}"
        )
    doubled = [name for name in wanted or () if found.count(name) > 1]
    if doubled:
        raise UserError(
            f"{place}: several columns are called {', '.join(doubled)}; give each its own name"
        )


READERS: dict[str, Callable[[Path, Reading], Rows]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".json": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}
