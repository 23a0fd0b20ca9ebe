"""The record of a run: metrics.jsonl (the truth) and TensorBoard events (a view of it)."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from jaxbert.disk import write_whole
from jaxbert.parallel.processes import in_first, is_first
from jaxbert.training.metrics_file import Row, read_metrics, to_json


class MetricLog:
    """Appends rows, one JSON object each, floats in full precision; what is not finite as null.

    Opened at step n it drops what a killed run wrote after its last checkpoint, so that every
    step stands in the file once. Every process has the rows, the first one writes them.
    """

    def __init__(self, directory: Path, resumed_step: int):
        path = directory / "metrics.jsonl"
        self.rows = in_first(lambda: _rows_until(path, resumed_step))
        self._files = _Files(directory, path, resumed_step) if is_first() else None

    def write(self, row: Row) -> None:
        """Writes one row; it has an integer `step`."""
        self.rows.append(row)
        if self._files is not None:
            self._files.write(row)

    def series(self, name: str) -> dict[int, float]:
        """Every value written under a name by its step, oldest first."""
        return {row["step"]: row[name] for row in self.rows if name in row}

    def sync(self) -> None:
        """Forces what is written to disk: a checkpoint must not outlive the rows before it."""
        if self._files is not None:
            self._files.sync()

    def close(self) -> None:
        """Closes both files."""
        if self._files is not None:
            self._files.close()


class _Files:
    """metrics.jsonl and the events, open to be appended to."""

    def __init__(self, directory: Path, path: Path, resumed_step: int):
        self._file = path.open("a", encoding="utf-8")
        self._events = _summary_writer()(
            str(directory / "tensorboard"), purge_step=resumed_step + 1
        )

    def write(self, row: Row) -> None:
        self._file.write(to_json(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name != "step":
                tag = name if "/" in name else f"train/{name}"
                self._events.add_scalar(tag, value, row["step"])

    def sync(self) -> None:
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        self._file.close()
        self._events.close()


def _summary_writer() -> Any:
    """tensorboardX's class, without PyTorch: it would import it wherever it is installed."""
    is_loaded = "torch" in sys.modules
    if not is_loaded:
        # What stands here as None cannot be imported, and tensorboardX takes that for an answer.
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import SummaryWriter
    finally:
        if not is_loaded:
            del sys.modules["torch"]
    # It would warn of every nan, "found in input tensor": a share of nothing is one, and of a loss
    # the recorder says more.
    logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
    return SummaryWriter


def _rows_until(path: Path, step: int) -> list[Row]:
    """The rows up to a step, which are all that the file holds from now on."""
    rows = [row for row in read_metrics(path) if row["step"] <= step]
    write_whole(path, "".join(to_json(row) + "\n" for row in rows))
    return rows
