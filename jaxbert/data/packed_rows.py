"""Rows of fine-tuning that hold several examples each."""

from functools import cached_property

import numpy as np

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.order import visit
from jaxbert.data.packing import Layout, Limits, PackedRows, plan_rows
from jaxbert.data.rows import check_fits
from jaxbert.data.stream import Batch, Indices


class PackedLabelledRows:
    """Examples side by side in rows of `length` tokens; immutable.

    `sequence_ids` [batch, length] and `sequence_starts` [batch, examples] take the place of
    `attention_mask`; columns per token stay [batch, length], columns per example become
    [batch, examples, ...], among them `row_ids`, the numbers of the examples. Which examples share
    a row follows from their lengths alone and is the same in every epoch.
    """

    def __init__(self, examples: EncodedExamples, *, seed: int, length: int):
        check_fits(examples, length)
        self.examples, self.seed, self.length = examples, seed, length

    @property
    def num_rows(self) -> int:
        """Rows that hold every example once, which is an epoch."""
        return len(self._plan)

    @property
    def num_evaluation_rows(self) -> int:
        """The same rows."""
        return self.num_rows

    @property
    def padding(self) -> float:
        """The share of positions that hold no token."""
        return 1 - float(self.examples.lengths.sum()) / (self.num_rows * self.length)

    @cached_property
    def max_examples(self) -> int:
        """The width of columns per example."""
        return int(np.diff(self._plan.starts).max())

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the shuffled stream."""
        return self.evaluation_rows(visit(self.seed, self.num_rows, positions)[1])

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """Rows by number; -1 gives an empty one."""
        wanted = np.flatnonzero(numbers >= 0)
        found, places = self._plan.of(numbers[wanted])
        lengths = self.examples.lengths[found]
        rows = wanted[places]
        layout = Layout(lengths, rows, len(numbers), self.length, self.max_examples)
        unpacked = self.examples.padded(found, int(lengths.max(initial=1)))
        is_real = np.arange(unpacked["input_ids"].shape[1]) < lengths[:, None]
        packed: Batch = {
            "sequence_ids": layout.sequence_ids,
            "sequence_starts": layout.sequence_starts,
        }
        for name, values in unpacked.items():
            if name in self.examples.token_columns:
                packed[name] = layout.tokens(values[is_real], self.examples.fill(name))
            elif name != "attention_mask":
                packed[name] = layout.examples(values, self.examples.fill(name))
        return packed

    @cached_property
    def _plan(self) -> PackedRows:
        lengths = self.examples.lengths
        # Rows crowded with the shortest would give some batches many more examples than others.
        on_average = -(-self.length * len(lengths) // int(lengths.sum()))
        return plan_rows(lengths, Limits(self.length, 3 * on_average))
