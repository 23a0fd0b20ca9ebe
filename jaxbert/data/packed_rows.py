"""Rows of fine-tuning that hold several examples each."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np

from jaxbert.data.arrays import Batch, Indices
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.mixed_packing import mixed_rows
from jaxbert.data.order import visit
from jaxbert.data.packing import Layout, Limits, PackedRows
from jaxbert.data.rows import check_fits
from jaxbert.errors import UserError


class PackedLabelledRows:
    """Examples side by side in rows of `length` tokens; immutable.

    `sequence_ids` [batch, length] and `sequence_starts` [batch, examples] take the place of
    `attention_mask`; columns per token stay [batch, length], columns per example become
    [batch, examples, ...], among them `row_ids`, the numbers of the examples. Which examples share
    a row follows from their lengths and the seed and is the same in every epoch.

    Of examples of several texts each text is a sequence of its own, all of them in one row:
    `sequence_starts` is [batch, examples, texts], and a text that is not there has no columns.
    """

    def __init__(
        self,
        examples: EncodedExamples,
        *,
        seed: int,
        length: int,
        place: Callable[[int], str] = "row {}".format,
    ):
        """Raises UserError for an example that is too long, of several texts by its `place`."""
        check_fits(examples, length)
        _check_together(examples, length, place)
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
        return 1 - float(self.examples.num_tokens.sum()) / (self.num_rows * self.length)

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

    @cached_property
    def _plan(self) -> PackedRows:
        # Files are often sorted, by label or by length.
        order = visit(self.seed, len(self.examples), np.arange(len(self.examples)))[1]
        lengths = self.examples.num_tokens[order]
        # The width of columns per example is that of the row with the most.
        on_average = -(-self.length * len(lengths) // int(lengths.sum()))
        plan = mixed_rows(lengths, Limits(self.length, 3 * on_average))
        return replace(plan, examples=order[plan.examples])


def _check_together(examples: EncodedExamples, length: int, place: Callable[[int], str]) -> None:
    longest = int(np.argmax(examples.num_tokens))
    if examples.num_tokens[longest] > length:
        raise UserError(
            f"{place(longest)}: its {examples.texts} texts have {examples.num_tokens[longest]} "
            f"tokens, and a packed row has {length}: raise max_seq_length, or set packing=false"
        )
