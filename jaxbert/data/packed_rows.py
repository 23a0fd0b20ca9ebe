"""Rows of fine-tuning that hold several examples each."""

from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.mixed_packing import mixed_rows
from jaxbert.data.order import visit
from jaxbert.data.packing import Layout, Limits, PackedRows
from jaxbert.data.rows import check_fits
from jaxbert.data.stream import Batch, Indices
from jaxbert.errors import UserError


class PackedLabelledRows:
    """Examples side by side in rows of `length` tokens; immutable.

    `sequence_ids` [batch, length] and `sequence_starts` [batch, examples] take the place of
    `attention_mask`; columns per token stay [batch, length], columns per example become
    [batch, examples, ...], among them `row_ids`, the numbers of the examples. Which examples share
    a row follows from their lengths and the seed. After every epoch examples of one length change
    places at random, so that rows have other examples and lengths stay what they were.

    Of examples of several texts each text is a sequence of its own, all of them in one row:
    `sequence_starts` is [batch, examples, texts], and a text that is not there has no columns.
    """

    def __init__(self, examples: EncodedExamples, *, seed: int, length: int):
        check_fits(examples, length)
        _check_together(examples, length)
        self.examples, self.seed, self.length = examples, seed, length
        # A batch has rows of two epochs at most.
        self._in_epoch = lru_cache(maxsize=2)(self._mixed)

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
        return 1 - float(self.examples.num_tokens.sum()) / (self.num_rows * self.length)

    @cached_property
    def max_examples(self) -> int:
        """The width of columns per example."""
        return int(np.diff(self._plan.starts).max())

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the shuffled stream."""
        epochs, numbers = visit(self.seed, self.num_rows, positions)
        return self._rows(numbers, epochs)

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """Rows by number, as in the first epoch; -1 gives an empty one."""
        return self._rows(numbers, np.zeros_like(numbers))

    def _rows(self, numbers: Indices, epochs: Indices) -> Batch:
        wanted = np.flatnonzero(numbers >= 0)
        found, places = self._examples_of(numbers[wanted], epochs[wanted])
        lengths, slots = self.examples.text_lengths[found], self.max_examples
        rows, count = wanted[places], lengths.shape[1]
        layout = Layout(lengths.sum(axis=1), rows, len(numbers), self.length, slots)
        of_texts = np.repeat(rows, count)
        texts = Layout(lengths.ravel(), of_texts, len(numbers), self.length, slots * count)
        starts = texts.sequence_starts
        if self.examples.texts is not None:
            starts = starts.reshape(len(numbers), slots, count)
        unpacked = self.examples.padded(found, int(lengths.max(initial=1)))
        width = unpacked["input_ids"].shape[-1]
        is_real = (np.arange(width) < lengths[..., None]).reshape(unpacked["input_ids"].shape)
        packed: Batch = {
            "sequence_ids": texts.sequence_ids,
            "sequence_starts": starts,
        }
        for name, values in unpacked.items():
            if name in self.examples.token_columns:
                packed[name] = layout.tokens(values[is_real], self.examples.fill(name))
            elif name != "attention_mask":
                packed[name] = layout.examples(values, self.examples.fill(name))
        return packed

    def _examples_of(self, rows: Indices, epochs: Indices) -> tuple[Indices, Indices]:
        """As `PackedRows.of`, of rows in some epochs."""
        slots, places = replace(self._plan, examples=np.arange(len(self.examples))).of(rows)
        found = np.empty_like(slots)
        for epoch in np.unique(epochs).tolist():
            here = epochs[places] == epoch
            found[here] = self._in_epoch(epoch)[slots[here]]
        return found, places

    def _mixed(self, epoch: int) -> NDArray[np.integer]:
        """The examples of all rows in an epoch, in the places of the plan."""
        plan, number = self._plan, len(self.examples)
        if epoch == 0:
            return plan.examples
        order = visit(self.seed, number, epoch * number + np.arange(number))[1]
        tokens, found = self.examples.num_tokens, np.empty_like(plan.examples)
        places = np.argsort(tokens[plan.examples], kind="stable")
        found[places] = order[np.argsort(tokens[order], kind="stable")]
        return found

    @cached_property
    def _plan(self) -> PackedRows:
        # Files are often sorted, by label or by length.
        order = visit(self.seed, len(self.examples), np.arange(len(self.examples)))[1]
        lengths = self.examples.num_tokens[order]
        # The width of columns per example is that of the row with the most.
        on_average = -(-self.length * len(lengths) // int(lengths.sum()))
        plan = mixed_rows(lengths, Limits(self.length, 3 * on_average))
        return replace(plan, examples=order[plan.examples])


def _check_together(examples: EncodedExamples, length: int) -> None:
    longest = int(np.argmax(examples.num_tokens))
    if examples.num_tokens[longest] > length:
        raise UserError(
            f"row {longest}: its {examples.texts} texts have {examples.num_tokens[longest]} tokens,"
            f" and a packed row has {length}: raise max_seq_length, or set packing=false"
        )
