"""From rows to batches: the batch of a step is a pure function of the step, in every phase."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from jaxbert.data.arrays import Batch, Indices

_DIGESTED = 8
"""Rows of the first batch, whatever its size."""


class EvaluationRows(Protocol):
    """A list of rows, each of which is evaluated once; immutable, as is the stream below."""

    @property
    def num_evaluation_rows(self) -> int:
        """Rows of the list."""

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """Rows of the list by number; -1 gives one that counts for nothing."""


class Rows(EvaluationRows, Protocol):
    """Where the rows of batches come from; immutable, so that threads and processes may share it.

    Training visits an endless stream of rows, evaluation every row of a list once.
    """

    @property
    def num_rows(self) -> int:
        """Rows of the stream in which every example is met once: an epoch."""

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the stream; `step` decides what a schedule changes."""


@dataclass(frozen=True)
class Phase:
    """The steps from `first_step` on take `batch_size` rows each, beginning with `first_row`."""

    rows: Rows
    batch_size: int
    first_step: int = 0
    first_row: int = 0

    def row_of(self, step: int) -> int:
        """The position in the stream at which the batch of a step begins."""
        return self.first_row + (step - self.first_step) * self.batch_size


class Stream:
    """The training batches of a run: its phases one after another."""

    def __init__(self, phases: Sequence[Phase]):
        assert phases[0].first_step == 0
        assert all(a.first_step < b.first_step for a, b in pairwise(phases))
        self.phases = tuple(phases)
        self._first_steps = [phase.first_step for phase in phases]

    def phase(self, step: int) -> Phase:
        """The phase that a step lies in."""
        return self.phases[bisect_right(self._first_steps, step) - 1]

    def batch(self, step: int) -> Batch:
        """The whole batch of a step."""
        return self.some(step, np.arange(self.phase(step).batch_size))

    def some(self, step: int, numbers: Indices) -> Batch:
        """Rows of the batch of a step by number, without making the others."""
        phase = self.phase(step)
        assert ((numbers >= 0) & (numbers < phase.batch_size)).all(), numbers
        return phase.rows.rows(phase.row_of(step) + numbers, step)

    def digest(self) -> str:
        """Of the first rows: it shows where other code makes other rows of the same data.

        Of their whole numbers alone: a frozen encoder's features differ in their bits by devices.
        Every process makes these few, whoever's part of the batch they are.
        """
        first = self.phases[0]
        rows = first.rows.rows(np.arange(min(_DIGESTED, first.batch_size)) + first.first_row, 0)
        whole = {name: array for name, array in sorted(rows.items()) if array.dtype.kind in "iub"}
        found = hashlib.sha256()
        for name, array in whole.items():
            found.update(f"{name} {array.shape} ".encode() + array.astype(np.int64).tobytes())
        return found.hexdigest()[:16]

    def ends_epoch(self, step: int) -> bool:
        """Whether `step` is the first count of steps after which an epoch more has been seen.

        Batches run on from one epoch into the next, so an epoch may end inside a batch.
        """
        phase = self.phase(step - 1)
        before, after = phase.row_of(step - 1), phase.row_of(step)
        return after // phase.rows.num_rows > before // phase.rows.num_rows

    def epochs(self, num_steps: int) -> float:
        """Epochs in the first `num_steps` steps, those of different phases added up."""
        total, ends = 0.0, [*self._first_steps[1:], num_steps]
        for phase, end in zip(self.phases, ends, strict=True):
            steps = max(0, min(end, num_steps) - phase.first_step)
            total += steps * phase.batch_size / phase.rows.num_rows
        return total


def evaluation_batches(
    rows: EvaluationRows, batch_size: int, numbers: Indices | None = None
) -> Iterator[Batch]:
    """Every row of the list once and in order; the last batch is filled up.

    `numbers`: which rows of every batch are made; None: all.
    """
    numbers = np.arange(batch_size) if numbers is None else numbers
    for first in range(0, rows.num_evaluation_rows, batch_size):
        wanted = first + numbers
        yield rows.evaluation_rows(np.where(wanted < rows.num_evaluation_rows, wanted, -1))
