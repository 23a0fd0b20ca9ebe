"""Rows of fine-tuning, an example each and all of one width."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Batch, Indices
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.order import visit
from jaxbert.errors import UserError

_MULTIPLE = 32


def static_length(lengths: Sequence[int] | NDArray[np.int64], max_seq_length: int) -> int:
    """The one width of all batches: the longest example rounded up to a multiple of 32.

    At most `max_seq_length`, which need not be such a multiple.
    """
    longest = int(np.max(lengths))
    return min(-(-longest // _MULTIPLE) * _MULTIPLE, max_seq_length)


class LabelledRows:
    """`EncodedExamples.padded` to `length` tokens; immutable."""

    def __init__(self, examples: EncodedExamples, *, seed: int, length: int):
        check_fits(examples, length)
        self.examples, self.seed, self.length = examples, seed, length

    @property
    def num_rows(self) -> int:
        """Number of rows, all of which every epoch visits once."""
        return len(self.examples)

    @property
    def num_evaluation_rows(self) -> int:
        """The same rows, in input order."""
        return self.num_rows

    @property
    def padding(self) -> float:
        """The share of positions that hold no token."""
        texts = self.examples.text_lengths
        return 1 - float(texts.sum()) / (texts.size * self.length)

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the shuffled stream."""
        return self.examples.padded(visit(self.seed, self.num_rows, positions)[1], self.length)

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """Rows by number; -1 gives one that counts for nothing."""
        return self.examples.padded(numbers, self.length)


def check_fits(examples: EncodedExamples, length: int) -> None:
    """Raises UserError where an example has more than `length` tokens."""
    longest = int(np.argmax(examples.lengths))
    if examples.lengths[longest] > length:
        raise UserError(
            f"row {longest} has {examples.lengths[longest]} tokens, more than length={length};"
            " truncate it when tokenising"
        )
