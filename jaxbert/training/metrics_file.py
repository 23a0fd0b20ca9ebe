"""metrics.jsonl: one JSON object a row, floats in full precision."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError

Row = dict[str, Any]


def to_json(values: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Figures as a JSON object that every reader takes: JSON has no NaN, so it becomes null."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(finite, indent=indent, allow_nan=False)


def from_json(text: str) -> Row:
    """Figures that `to_json` wrote; null is read as nan."""
    return {name: math.nan if value is None else value for name, value in json.loads(text).items()}


def read_metrics(path: Path) -> list[Row]:
    """All rows of a metrics.jsonl: see `metric_rows`."""
    return [*metric_rows(path)]


def metric_rows(path: Path) -> Iterator[Row]:
    """The rows of a metrics.jsonl as they are read, however many there are; none without a file.

    A last line cut off by a crash is left out. Raises UserError for another line that is no row.
    """
    if not path.exists():
        return
    with path.open("rb") as lines:
        line, number = lines.readline(), 1
        while line:
            following = lines.readline()
            try:
                row = from_json(line.decode())
                if not isinstance(row["step"], int):
                    raise TypeError
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                if following or not isinstance(error, ValueError):
                    raise UserError(
                        f"{path}:{number}: not a row as jaxbert writes it, JSON with an integer "
                        "step: put the line right or remove it"
                    ) from None
                return
            yield row
            line, number = following, number + 1
