"""The live line of a run on the terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from jaxbert.training.metrics_file import Row

PLAIN_SECONDS = 15.0
"""Where there is no terminal, a line at most this often."""

STARTING = "compiling the first step"
EVALUATING = "evaluating"


class TrainingProgress:
    """A bar with step, loss, learning rate, tokens/s, padding, utilisation and time left.

    Writes to standard error: a live bar on a terminal, a plain line now and then elsewhere.
    """

    def __init__(self, num_steps: int, first_step: int, *, quiet: bool = False):
        self._num_steps, self._timed_from = num_steps, first_step
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("step"),
            BarColumn(bar_width=10),
            # Where the terminal is narrow the bar and the end of the text go, not these two.
            MofNCompleteColumn(table_column=Column(min_width=2 * len(str(num_steps)) + 1)),
            TimeRemainingColumn(table_column=Column(min_width=len("0:00:00"))),
            TextColumn("{task.fields[shown]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(
            "train", total=num_steps, completed=first_step, shown=STARTING
        )
        self._started = self._last_plain = time.monotonic()

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """The loop has dispatched `step`."""
        if self._bar.tasks[0].fields["shown"] == STARTING:
            # What is left is as long as the steps are without the first one's compilation.
            self._timed_from, self._started = step, time.monotonic()
        self._bar.update(self._task, completed=step)
        if self._bar.tasks[0].fields["shown"] in (STARTING, EVALUATING):
            # Until the next logged row there is nothing true to show.
            self._bar.update(self._task, shown="")

    def show(self, row: Row) -> None:
        """Shows a logged row."""
        self._bar.update(self._task, shown=describe(row))
        now = time.monotonic()
        last = row["step"] == self._num_steps
        if not self._console.is_terminal and (last or now - self._last_plain >= PLAIN_SECONDS):
            self._last_plain = now
            text = f"step {row['step']}/{self._num_steps}  {describe(row)}"
            if done := row["step"] - self._timed_from:
                left = (now - self._started) / done * (self._num_steps - row["step"])
                text += f"  {left:.0f} s left"
            self._console.print(text, highlight=False, soft_wrap=True)

    def evaluating(self, step: int) -> None:
        """The loop evaluates, and no step is done meanwhile."""
        self._bar.update(self._task, completed=step, shown=EVALUATING)

    def say(self, text: str) -> None:
        """Prints a line that stays, above the bar."""
        # No markup: classes and paths may have square brackets in their names.
        self._bar.console.print(text, highlight=False, soft_wrap=True, markup=False)


def describe(row: Row) -> str:
    """A logged row as text for one line."""
    parts = [f"loss {row['loss']:.4f}", f"lr {row['learning_rate']:.1e}"]
    if "tokens_per_second" in row:
        parts.append(f"{_short(row['tokens_per_second'])} tokens/s")
    if "padding" in row:
        parts.append(f"padding {row['padding']:.0%}")
    if "model_flops_utilization" in row:
        parts.append(f"MFU {row['model_flops_utilization']:.1%}")
    return "  ".join(parts)


def _short(number: float) -> str:
    return f"{number / 1000:,.0f}k" if number >= 10_000 else f"{number:,.0f}"
