"""A bar over examples that are worked through once."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} examples/s")


def counted(
    batches: Iterable[T], batch_size: int, total: int, doing: str, *, quiet: bool
) -> Iterator[T]:
    """`batches` of `total` examples, with a bar on standard error: rate and time left.

    Where there is no terminal a line says what begins.
    """
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        console.print(f"{doing}: {total:,} examples", highlight=False, soft_wrap=True)
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(bar_width=10), MofNCompleteColumn()),
        *(TimeRemainingColumn(), _Rate()),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(doing, total=total)
        for batch in batches:
            yield batch
            bar.advance(task, batch_size)
