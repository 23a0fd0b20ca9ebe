"""Several examples in one row: which share a row, and how their arrays are laid side by side.

Which examples share a row is decided once, from their lengths alone, so that a packed batch is as
much a pure function of the step as an unpacked one. It is decided on the histogram of the lengths
(Krell et al. 2021, "Efficient sequence packing without cross-contamination", section 3): the work
grows with the square of the row's capacity, and not with the corpus.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.masking import IGNORED, Masked
from jaxbert.data.ragged import filled, left_aligned
from jaxbert.errors import UserError


@dataclass(frozen=True)
class PackedRows:
    """Every example in exactly one row: row r holds examples[starts[r] : starts[r + 1]].

    `examples` are uint32 where that is enough: there may be billions.
    """

    examples: NDArray[np.integer]
    starts: Indices

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, rows: Indices) -> tuple[Indices, Indices]:
        """The examples of some rows one after another, and the place in `rows` of each."""
        first, counts = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        places = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.examples[first[places] + within].astype(np.int64), places


@dataclass(frozen=True)
class Limits:
    """What a row holds at most."""

    tokens: int
    examples: int
    predictions: int | None = None
    """Masked tokens; None: they are no matter."""


@dataclass(frozen=True)
class _Pattern:
    """Rows of one kind: the lengths of their examples, and how many such rows there are."""

    lengths: tuple[int, ...]
    predictions: int
    count: int


def plan_rows(lengths: Indices, limits: Limits, predictions: Indices | None = None) -> PackedRows:
    """Assigns examples of `lengths` tokens [examples] to rows, the longest first, each to the row
    where it leaves the least room.

    `predictions` [limits.tokens + 1] is how many masked tokens an example of each length has.
    Of examples of one length the first in the corpus come into the first rows. Raises UserError
    for an example of no tokens, or of more than a row takes.
    """
    if lengths.size and not 0 < lengths.min() <= lengths.max() <= limits.tokens:
        raise UserError(
            f"lengths are {lengths.min()} to {lengths.max()}: a row takes examples of 1 to "
            f"{limits.tokens} tokens; cut or leave out the others"
        )
    needed = np.zeros(limits.tokens + 1, np.int64) if predictions is None else predictions
    patterns = _patterns(np.bincount(lengths, minlength=limits.tokens + 1), limits, needed)
    by_length = np.argsort(lengths, kind="stable")
    ends = np.cumsum(np.bincount(lengths, minlength=limits.tokens + 1))
    taken = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    kind: type[np.integer] = np.uint32 if len(lengths) <= 2**32 else np.int64
    examples: NDArray[np.integer] = np.empty(len(lengths), kind)
    sizes, filled = [], 0
    for pattern in patterns:
        rows = examples[filled : filled + pattern.count * len(pattern.lengths)]
        grid = rows.reshape(pattern.count, len(pattern.lengths))
        for column, length in enumerate(pattern.lengths):
            grid[:, column] = by_length[taken[length] : taken[length] + pattern.count]
            taken[length] += pattern.count
        filled += rows.size
        sizes.append(np.full(pattern.count, len(pattern.lengths)))
    starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]), dtype=np.int64)
    return PackedRows(examples, starts)


def _patterns(histogram: Indices, limits: Limits, predictions: Indices) -> list[_Pattern]:
    """Best fit, in decreasing order of length, for all examples of one length at a time."""
    by_room: dict[int, list[_Pattern]] = defaultdict(list)
    for length in np.flatnonzero(histogram)[::-1].tolist():
        left, needed = int(histogram[length]), int(predictions[length])
        # What is left when no row has room opens new ones, as many as there are examples.
        empty = _Pattern((), 0, left)
        for room in [*sorted(room for room in by_room if room >= length), limits.tokens]:
            unfilled = [empty] if room == limits.tokens else by_room.pop(room)
            for pattern in unfilled:
                most = _most(pattern, room, length, needed, limits)
                for joined in _joined(pattern, length, needed, most, left):
                    added = len(joined.lengths) - len(pattern.lengths)
                    left -= added * joined.count
                    if joined.lengths:
                        by_room[room - added * length].append(joined)
        assert not left, "an example has more predictions than a row holds"
    return [pattern for room in sorted(by_room) for pattern in by_room[room]]


def _most(pattern: _Pattern, room: int, length: int, needed: int, limits: Limits) -> int:
    """How many more examples of one length a row of a pattern holds."""
    bounds = [room // length, limits.examples - len(pattern.lengths)]
    if limits.predictions is not None and needed:
        bounds.append((limits.predictions - pattern.predictions) // needed)
    return min(bounds)


def _joined(
    pattern: _Pattern, length: int, needed: int, most: int, left: int
) -> Iterator[_Pattern]:
    """The rows of a pattern after `left` examples of one length are put into them, row by row."""
    full, rest = divmod(left, most) if most else (0, 0)
    full = min(full, pattern.count)
    partial = int(rest > 0 and full < pattern.count)
    kinds = ((most, full), (rest, partial), (0, pattern.count - full - partial))
    for added, count in kinds:
        if count:
            lengths = pattern.lengths + (length,) * added
            yield _Pattern(lengths, pattern.predictions + needed * added, count)


@dataclass(frozen=True)
class Layout:
    """Where examples lie in the rows of a batch, and how their arrays get there.

    `lengths` and `rows` [examples] are each example's tokens and row, the rows in ascending order.
    `capacity` is the rows' width in tokens, `slots` in examples.
    """

    lengths: Indices
    rows: Indices
    num_rows: int
    capacity: int
    slots: int

    @cached_property
    def _counts(self) -> Indices:
        """Examples of every row."""
        return np.bincount(self.rows, minlength=self.num_rows)

    @cached_property
    def _slot(self) -> Indices:
        """The place of every example among those of its row."""
        before = np.cumsum(self._counts) - self._counts
        return np.arange(len(self.rows)) - before[self.rows]

    @cached_property
    def _tokens(self) -> Indices:
        """Tokens of every row."""
        return self._sums(self.lengths)

    @cached_property
    def _first_token(self) -> Indices:
        """Of every row, among the tokens of all examples one after another."""
        return np.cumsum(self._tokens) - self._tokens

    @cached_property
    def _is_filled(self) -> NDArray[np.bool_]:
        """[rows, capacity]: where tokens are, which is at the beginning of every row."""
        return filled(self._tokens, self.capacity)

    def _sums(self, values: Indices) -> Indices:
        return np.bincount(self.rows, values, self.num_rows).astype(np.int64)

    @cached_property
    def sequence_ids(self) -> NDArray[np.int32]:
        """int32 [rows, capacity]: 1, 2, ... for the examples of a row, 0 for its padding."""
        return self.tokens(np.repeat((self._slot + 1).astype(np.int32), self.lengths), 0)

    @cached_property
    def sequence_starts(self) -> NDArray[np.int32]:
        """int32 [rows, slots]: the first column of every example, 0 where there is none."""
        starts = np.cumsum(self.lengths) - self.lengths - self._first_token[self.rows]
        return self.examples(np.where(self.lengths > 0, starts, 0).astype(np.int32), 0)

    def tokens(self, values: NDArray[Any], fill: int) -> NDArray[Any]:
        """[tokens], which are those of the examples one after another -> [rows, capacity]."""
        return left_aligned(values, self._is_filled, fill)

    def examples(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """[examples, ...] -> [rows, slots, ...]."""
        laid = np.full((self.num_rows, self.slots, *values.shape[1:]), fill, values.dtype)
        laid[self.rows, self._slot] = values
        return laid

    def predictions(
        self, masked: Masked, width: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The columns of masked tokens, 0 where unused, and their labels: int32 [rows, width].

        Those of a row ascend; what is unused is at its end.
        """
        counts = self._sums(masked.counts)
        columns = masked.places - np.repeat(self._first_token, counts)
        is_used = filled(counts, width)
        return (
            left_aligned(columns.astype(np.int32), is_used, 0),
            left_aligned(masked.labels, is_used, IGNORED),
        )
