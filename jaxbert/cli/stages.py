"""Progress of work that goes through text, stage by stage."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Stages:
    """A bar on standard error for each stage, with the rate of the text and the time left.

    It is what `jaxbert.data.watch.Watch` asks for.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
        )
        self._stage: TaskID | None = None

    def __enter__(self) -> "Stages":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        self._progress.stop()

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins, and the one before it is done."""
        self._finish()
        self._stage = self._progress.add_task(stage, total=total, text="")
        self._text_bytes, self._began = 0, time.monotonic()

    def advance(self, amount: int) -> None:
        """So much more of the stage's total is done."""
        assert self._stage is not None
        self._progress.advance(self._stage, amount)

    def took(self, text_bytes: int) -> None:
        """So much more text went through the stage."""
        assert self._stage is not None
        self._text_bytes += text_bytes
        done = self._text_bytes / 1e6
        rate = done / max(time.monotonic() - self._began, 1e-3)
        self._progress.update(self._stage, text=f"{done:.1f} MB of text, {rate:.1f} MB/s")

    def _finish(self) -> None:
        """Fills the bar of a stage that ended before its total, or had none."""
        if self._stage is not None:
            done = max(self._progress.tasks[self._stage].completed, 1)
            self._progress.update(self._stage, completed=done, total=done)
