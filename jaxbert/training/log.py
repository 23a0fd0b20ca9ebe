"""The record of a run: metrics.jsonl (the truth) and TensorBoard events (a view of it)."""

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class MetricLog:
    """Appends rows, one JSON object each, floats in full precision.

    Opened at step n it drops what a killed run wrote after its last checkpoint, so that every
    step stands in the file once.
    """

    def __init__(self, directory: Path, resumed_step: int):
        from tensorboardX import SummaryWriter

        self._path = directory / "metrics.jsonl"
        self.rows = [row for row in read_metrics(self._path) if row["step"] <= resumed_step]
        _replace(self._path, self.rows)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=resumed_step + 1)

    def write(self, row: Row) -> None:
        """Writes one row; it has an integer `step`."""
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name != "step":
                self._events.add_scalar(
                    name if "/" in name else f"train/{name}", value, row["step"]
                )

    def history(self, name: str) -> list[float]:
        """Every value written under a name, oldest first."""
        return [row[name] for row in self.rows if name in row]

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        self._events.close()


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _replace(path: Path, rows: list[Row]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.replace(temporary, path)
