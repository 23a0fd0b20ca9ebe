"""Examples of different lengths without padding between them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices


@dataclass(frozen=True)
class Ragged:
    """Where the tokens of examples are when they lie one after another in flat arrays [tokens].

    Those of example e are flat[starts[e] : starts[e] + lengths[e]]. Masks are drawn in this form,
    and only then laid out in rows: what is short costs little.
    """

    lengths: Indices

    @cached_property
    def starts(self) -> Indices:
        """The first token of every example: int64 [examples]."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def columns(self) -> NDArray[np.uint32]:
        """The place of every token in its own example: uint32 [tokens]."""
        tokens = np.arange(self.lengths.sum(), dtype=np.uint32)
        tokens -= self.spread(self.starts.astype(np.uint32))
        return tokens

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Every example's value at each of its tokens: [..., examples] -> [..., tokens]."""
        return np.repeat(values, self.lengths, axis=-1)

    def sums(self, marks: NDArray[np.bool_]) -> Indices:
        """How many tokens of every example are marked; none may be empty."""
        return np.add.reduceat(marks, self.starts, dtype=np.int64)

    def among(self, places: Indices) -> Indices:
        """How many of some places in the flat arrays, ascending, are in every example."""
        counts = np.searchsorted(places, self.starts + self.lengths)
        counts[1:] -= counts[:-1].copy()
        return counts

    def padded(self, values: NDArray[Any], fill: int) -> NDArray[Any]:
        """An example a row: [tokens] -> [examples, longest]."""
        return left_aligned(values, filled(self.lengths, self.lengths.max(initial=1)), fill)


def filled(counts: Indices, width: int) -> NDArray[np.bool_]:
    """Marks the first counts[0] columns of row 0, counts[1] of row 1, ...: [rows, width]."""
    return np.arange(width, dtype=np.int32) < counts.astype(np.int32)[:, None]


def left_aligned(values: NDArray[Any], is_filled: NDArray[np.bool_], fill: int) -> NDArray[Any]:
    """Values one after another at the marks of `filled`, and `fill` elsewhere."""
    laid = np.full(is_filled.shape, fill, values.dtype)
    laid[is_filled] = values
    return laid
