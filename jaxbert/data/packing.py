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

Indices = NDArray[np.int64]


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
    Of examples of one length the first in the corpus come into the first rows.
    """
    assert lengths.size == 0 or 0 < lengths.min() <= lengths.max() <= limits.tokens, limits
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
    def _first(self) -> Indices:
        """For every example the first one of its row."""
        counts = np.bincount(self.rows, minlength=self.num_rows)
        return (np.cumsum(counts) - counts)[self.rows]

    @cached_property
    def _slot(self) -> Indices:
        """The place of every example among those of its row."""
        return np.arange(len(self.rows)) - self._first

    @cached_property
    def _offset(self) -> Indices:
        """The column in which every example begins."""
        before = np.cumsum(self.lengths) - self.lengths
        return before - before[self._first]

    @cached_property
    def _is_filled(self) -> NDArray[np.bool_]:
        """[rows, capacity]: where tokens are, which is at the beginning of every row."""
        filled = np.bincount(self.rows, self.lengths, self.num_rows)
        return np.arange(self.capacity) < filled[:, None]

    @cached_property
    def sequence_ids(self) -> NDArray[np.int32]:
        """int32 [rows, capacity]: 1, 2, ... for the examples of a row, 0 for its padding."""
        laid = np.zeros(self._is_filled.shape, np.int32)
        laid[self._is_filled] = np.repeat(self._slot + 1, self.lengths)
        return laid

    @cached_property
    def sequence_starts(self) -> NDArray[np.int32]:
        """int32 [rows, slots]: the first column of every example, 0 where there is none."""
        return self.examples(self._offset, 0).astype(np.int32)

    def tokens(self, values: NDArray[Any], fill: int) -> NDArray[np.int32]:
        """[examples, width], of which the first `lengths` columns count -> [rows, capacity]."""
        laid = np.full(self._is_filled.shape, fill, np.int32)
        # Both masks go through the examples in the same order.
        laid[self._is_filled] = values[np.arange(values.shape[1]) < self.lengths[:, None]]
        return laid

    def examples(self, values: NDArray[Any], fill: float) -> NDArray[Any]:
        """[examples, ...] -> [rows, slots, ...]."""
        laid = np.full((self.num_rows, self.slots, *values.shape[1:]), fill, values.dtype)
        laid[self.rows, self._slot] = values
        return laid

    def predictions(
        self, positions: NDArray[np.int32], labels: NDArray[np.int32], width: int, ignored: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """[examples, predictions] each -> [rows, width]: positions in the row, and their labels.

        Places with the label `ignored` are unused; in the rows they are at the end.
        """
        is_used = labels != ignored
        owner = np.nonzero(is_used)[0]
        rows = self.rows[owner]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        laid_positions = np.zeros((self.num_rows, width), np.int32)
        laid_labels = np.full((self.num_rows, width), ignored, np.int32)
        laid_positions[rows, place] = positions[is_used] + self._offset[owner]
        laid_labels[rows, place] = labels[is_used]
        return laid_positions, laid_labels
