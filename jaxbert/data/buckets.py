"""Evaluation in a few static lengths: rows of like length together, a compilation a length."""

import numpy as np

from jaxbert.data.arrays import Batch, Indices
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.rows import check_fits

_MULTIPLE = 8
_MOST_LENGTHS = 8
_BATCHES_SORTED = 64
# Tokens that a model of base size goes through in the time of its compilation on a few CPU cores;
# on an accelerator it would be many more, but there eight compilations are over soon.
_COMPILATION = 2**12


class BucketedRows:
    """Every example once, in batches of `batch_size` rows that are as wide as their longest needs.

    Examples are sorted by length, the longest first, 64 batches' worth at a time, so that whoever
    wants them in input order (by their `row_ids`) need not wait for all. `lengths` are those
    widths, ascending: as given, up to `longest`, or else multiples of 8, at most eight of them, and
    fewer where another compilation would cost more than the padding.
    """

    def __init__(
        self,
        examples: EncodedExamples,
        *,
        batch_size: int,
        longest: int,
        lengths: Indices | None = None,
        compilation: int = _COMPILATION,
    ):
        check_fits(examples, longest)
        self.examples, self.batch_size = examples, batch_size
        parts = np.arange(len(examples)) // (_BATCHES_SORTED * batch_size)
        self._order = np.lexsort((-examples.lengths, parts))
        firsts = np.arange(0, len(examples), batch_size)
        needed = np.maximum.reduceat(examples.lengths[self._order], firsts)
        needed = np.minimum(-(-needed // _MULTIPLE) * _MULTIPLE, longest)
        if lengths is None:
            lengths = best_lengths(needed, _MOST_LENGTHS, compilation // batch_size)
        self.lengths = lengths
        self._widths = self.lengths[np.searchsorted(self.lengths, needed)]

    @property
    def num_evaluation_rows(self) -> int:
        """Number of examples."""
        return len(self.examples)

    @property
    def num_batches(self) -> int:
        """Number of batches, the last one filled up."""
        return len(self._widths)

    @property
    def num_positions(self) -> int:
        """Positions of all batches, with those of padding and of rows that fill the last one."""
        return int(self._widths.sum()) * self.batch_size * (self.examples.texts or 1)

    @property
    def padding(self) -> float:
        """The share of positions that hold no token."""
        return 1 - float(self.examples.text_lengths.sum()) / self.num_positions

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """Rows of one batch by their place in the order; -1 gives one that counts for nothing."""
        is_real = numbers >= 0
        # Fillers are in the last batch; a host may have none but them.
        batches = np.unique(numbers[is_real] // self.batch_size)
        assert len(batches) <= 1, "rows of several batches"
        width = self._widths[batches[0] if len(batches) else -1]
        return self.examples.padded(np.where(is_real, self._order[numbers], -1), int(width))


def standard_lengths(longest: int) -> Indices:
    """8, 16, 24, 32, 48, ...: doubling in two steps, for rows whose lengths are not known yet."""
    powers = 2 ** np.arange(3, max(4, longest.bit_length() + 1))
    steps = np.unique(np.concatenate([powers, powers * 3 // 2]))
    return np.append(steps[steps < longest], longest)


def best_lengths(needed: Indices, most: int, price: int = 0) -> Indices:
    """The lengths, ascending, to which `needed` lengths are rounded up at the least total.

    At most `most` of them, each of which costs `price` besides.
    """
    values, counts = np.unique(needed, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    totals = np.full(len(values) + 1, np.inf)
    totals[0] = 0
    found: list[tuple[float, list[int]]] = []
    cuts: list[Indices] = []
    for number in range(1, min(most, len(values)) + 1):
        # [first, last]: a length more, that of `last`, for the values from `first` on.
        cost = totals[:-1, None] + values * (before[1:] - before[:-1, None])
        cost[np.tril_indices(len(values), -1)] = np.inf
        cuts.append(cost.argmin(axis=0))
        totals = np.concatenate([[np.inf], cost.min(axis=0)])
        chosen, stop = [], len(values)
        for cut in cuts[::-1]:
            chosen.append(stop - 1)
            stop = int(cut[stop - 1])
        found.append((totals[-1] + number * price, chosen[::-1]))
    return values[min(found)[1]]
