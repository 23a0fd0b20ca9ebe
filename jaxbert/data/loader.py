"""Batches made ahead of their use in background threads."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import grain

T = TypeVar("T")


def iterate(
    batch_fn: Callable[[int], T],
    start: int,
    stop: int,
    *,
    prefetch: int = 2,
    threads: int = 1,
) -> Iterator[T]:
    """Yields `batch_fn(step)` for every step in [start, stop) in order, `prefetch` steps ahead.

    `batch_fn` must be a pure function of the step; to resume, pass the step as `start`. What it
    raises is raised here when its step is due. With `prefetch=0` or `threads=0` it runs in the
    caller. Closing the iterator early stops the threads after the batches they are making.
    """
    if start >= stop:
        return
    # Grain cannot use more threads than there are places in its buffer.
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(prefetch, threads) if prefetch else 0
    )
    steps = grain.MapDataset.range(start, stop).map(batch_fn)
    batches = iter(steps.to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()
