"""Which tokens of a batch are masked: single ones, or runs of whole words, in a random order.

A unit is what is never split: a word, or a phrase. Everything works on all examples at once, in
the flat arrays of `Ragged`, and what is drawn for an example depends on its own columns only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Marks
from jaxbert.data.masking_config import NgramUnits, SpanUnits, Units
from jaxbert.data.ragged import Ragged

Words = NDArray[np.uint32]
Counts = NDArray[np.int64]


def choose_tokens(
    maskable: Marks, drawn: Words, wanted: Counts, examples: Ragged
) -> tuple[Counts, Counts]:
    """Of each example's maskable tokens `wanted` random ones, or all where there are not so many.

    Their places in the flat array, ascending, and how many each example has.
    """
    ordered = examples.padded(np.where(maskable, drawn, np.uint32(0xFFFFFFFF)), 0xFFFFFFFF)
    ordered.sort(axis=1)
    last = ordered[np.arange(len(wanted)), np.minimum(wanted, examples.lengths) - 1]
    chosen = np.flatnonzero(maskable & (drawn <= examples.spread(last)))
    count = examples.among(chosen)
    if (count > wanted).any():
        # Two tokens drew the same number, once in a million examples.
        chosen = chosen[Ragged(count).columns < np.repeat(wanted, count)]
        count = np.minimum(count, wanted)
    return chosen, count


def word_starts(maskable: Marks, continues: Marks) -> Marks:
    """Where words start: also at a continuation piece with nothing before it to continue."""
    follows_piece = np.zeros_like(maskable)
    follows_piece[..., 1:] = maskable[..., :-1]
    return maskable & ~(continues & follows_piece)


def run_length_shares(units: Units) -> NDArray[np.float64]:
    """How often a run of 1, 2, ... units is asked for; they add up to 1."""
    if isinstance(units, SpanUnits):
        # Clipped as in the code of SpanBERT: longer runs are drawn again, hence a mean of 3.8.
        shares = (1.0 - units.geometric_p) ** np.arange(units.max_words)
    elif isinstance(units, NgramUnits):
        shares = 1.0 / np.arange(1, units.max_words + 1)
    else:
        shares = np.ones(1)
    return shares / shares.sum()


def draw_run_lengths(shares: NDArray[np.float64], drawn: Words) -> Counts:
    """Numbers of units with the given shares, one for each random word."""
    return np.searchsorted(np.cumsum(shares)[:-1], drawn * 2.0**-32, side="right") + 1


@dataclass(frozen=True)
class Layout:
    """The units of a batch from example to example, left to right; all counts are int64.

    `sizes` [units] count the tokens of each unit, `room` [units] the units from it to the next
    special token; `first` and `count` [examples] tell which units are in an example; `owner`
    [tokens] is the unit of each maskable token.
    """

    sizes: Counts
    room: Counts
    first: Counts
    count: Counts
    owner: Counts

    @classmethod
    def of(cls, maskable: Marks, is_start: Marks, examples: Ragged) -> "Layout":
        """Reads it off the marks of tokens and of the first tokens of units."""
        count = examples.sums(is_start)
        owner = np.cumsum(is_start) - 1
        starts = np.flatnonzero(is_start)
        sizes = np.bincount(owner[maskable], minlength=len(starts))
        is_last = np.ones(len(starts), dtype=bool)
        is_last[:-1] = starts[:-1] + sizes[:-1] != starts[1:]
        # Where no special token is between two examples either.
        is_last[np.cumsum(count)[count > 0] - 1] = True
        units, ends = np.arange(len(starts)), np.flatnonzero(is_last)
        room = ends[np.searchsorted(ends, units)] - units + 1
        return cls(sizes, room, np.cumsum(count) - count, count, owner)

    def in_random_order(self, drawn: Words) -> Counts:
        """Every example's units in the order of a random word for each, then anything: int64
        [examples, rank]."""
        rows = np.repeat(np.arange(len(self.count)), self.count)
        place = (np.arange(len(rows)) - self.first[rows]).astype(np.uint64)
        keys = np.full((len(self.count), self.count.max(initial=0)), np.iinfo(np.uint64).max)
        # With the place in the low bits no two keys are equal, and plain numbers sort fastest.
        keys[rows, place] = (drawn.astype(np.uint64) << np.uint64(32)) | place
        keys.sort(axis=1)
        return self.first[:, None] + (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def choose_runs(layout: Layout, order: Counts, runs: Counts, wanted: Counts, passes: bool) -> Marks:
    """Runs of units until each example has `wanted` tokens or nothing more fits: bool [tokens],
    which says nothing of those that are not maskable.

    A unit that is not chosen yet starts a run of `runs` [units] units, shortened where its segment
    ends or to the whole units that fit. A run that meets a chosen unit goes on behind it where it
    `passes` (SpanBERT's code), else it is dropped (ALBERT's).
    """
    runs = np.minimum(runs, layout.room)
    offsets = np.arange(runs.max(initial=1))
    sizes = np.pad(layout.sizes, (0, len(offsets)))
    taken = np.zeros(len(sizes), dtype=bool)
    left, smallest = wanted.copy(), _smallest(layout)
    active = np.arange(len(wanted))
    for rank in range(order.shape[1]):
        # Examples that are full leave, so that the last ones cost little.
        active = active[(rank < layout.count[active]) & (smallest[active] <= left[active])]
        if not len(active):
            break
        units = order[active, rank]
        cells = units[:, None] + offsets
        within = (offsets < runs[units, None]) & ~taken[units, None]
        is_new = within & ~taken[cells]
        cost = np.cumsum(sizes[cells] * (is_new if passes else within), axis=1)
        fits = cost <= left[active, None]
        if not passes:
            fits &= ~(within & ~is_new & fits).any(axis=1, keepdims=True)
        fits &= is_new
        taken[cells[fits]] = True
        left[active] -= (sizes[cells] * fits).sum(axis=1)
    return taken[layout.owner]


def _smallest(layout: Layout) -> Counts:
    """The size of the smallest unit of each example; 1 where there is none."""
    smallest = np.ones_like(layout.count)
    has_units = layout.count > 0
    if has_units.any():
        smallest[has_units] = np.minimum.reduceat(layout.sizes, layout.first[has_units])
    return smallest
