"""Rows of fine-tuning: examples that are tokenised already, each visited by its number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.masking import IGNORED
from jaxbert.data.order import visit
from jaxbert.errors import UserError

RowBatch = dict[str, NDArray[Any]]

_TOKEN_FEATURES = ("input_ids", "token_type_ids")
_MULTIPLE = 32


def static_length(lengths: Sequence[int] | NDArray[np.int64], max_seq_length: int) -> int:
    """The one width of all batches: the longest example rounded up to a multiple of 32.

    At most `max_seq_length`, which need not be such a multiple.
    """
    longest = int(max(lengths))
    return min(-(-longest // _MULTIPLE) * _MULTIPLE, max_seq_length)


class LabelledRows:
    """Rows of `length` tokens, an example each; immutable, so threads may share it.

    `features` holds `input_ids` and optionally `token_type_ids` (zeros otherwise), each a sequence
    of rows of token ids, and any number of arrays [rows, ...] such as `labels`, which keep their
    kind as int32 or float32. The batches also have `attention_mask` [batch, length], `row_ids`
    int32 [batch] and `weights` float32 [batch], which is 1 for a row that counts.
    """

    def __init__(
        self,
        features: Mapping[str, Sequence[Any] | NDArray[Any]],
        *,
        seed: int,
        pad_id: int,
        length: int,
    ):
        rows = features["input_ids"]
        if len(rows) == 0:
            raise UserError("no examples to make batches of; check the data file and its columns")
        self.seed, self.pad_id, self.length = seed, pad_id, length
        self._lengths = np.array([len(row) for row in rows], dtype=np.int64)
        _check_lengths(features, self._lengths, length)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._tokens = {
            name: np.concatenate([np.asarray(row, dtype=np.int32) for row in features[name]])
            for name in _TOKEN_FEATURES
            if name in features
        }
        self._columns = {
            name: _column(values)
            for name, values in features.items()
            if name not in (*_TOKEN_FEATURES, "attention_mask")
        }

    @property
    def num_rows(self) -> int:
        """Number of rows, all of which every epoch visits once."""
        return len(self._lengths)

    @property
    def num_evaluation_rows(self) -> int:
        """The same rows, in input order."""
        return self.num_rows

    def rows(self, positions: NDArray[np.int64], step: int) -> RowBatch:
        """The rows at some positions of the shuffled stream."""
        return self._gather(visit(self.seed, self.num_rows, positions)[1])

    def evaluation_rows(self, numbers: NDArray[np.int64]) -> RowBatch:
        """Rows by number; -1 gives one that counts for nothing.

        It has `row_ids` -1, `weights` 0, integer labels -100, real-valued columns 0.0, and one
        visible padding token.
        """
        return self._gather(numbers)

    def _gather(self, row_ids: NDArray[np.int64]) -> RowBatch:
        counts = row_ids >= 0
        lengths = np.where(counts, self._lengths[row_ids], 0)
        is_real = np.arange(self.length) < lengths[:, None]
        source = (self._starts[row_ids, None] + np.arange(self.length))[is_real]
        batch: RowBatch = {"token_type_ids": np.zeros(is_real.shape, dtype=np.int32)}
        for name, values in self._tokens.items():
            fill = self.pad_id if name == "input_ids" else 0
            batch[name] = np.full(is_real.shape, fill, dtype=np.int32)
            batch[name][is_real] = values[source]
        batch["attention_mask"] = is_real.astype(np.int32)
        # One position of a filler row stays visible: a softmax over none is not a number.
        batch["attention_mask"][~counts, 0] = 1
        for name, column in self._columns.items():
            batch[name] = column[row_ids]
            is_class = column.dtype == np.int32 and name == "labels"
            batch[name][~counts] = IGNORED if is_class else 0
        batch["row_ids"] = row_ids.astype(np.int32)
        batch["weights"] = counts.astype(np.float32)
        return batch


def _column(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)


def _check_lengths(
    features: Mapping[str, Sequence[Any] | NDArray[Any]],
    lengths: NDArray[np.int64],
    length: int,
) -> None:
    for name, values in features.items():
        if len(values) != len(lengths):
            raise UserError(f"{name}: {len(values)} rows, but input_ids has {len(lengths)}")
    longest = int(np.argmax(lengths))
    if lengths[longest] > length:
        raise UserError(
            f"row {longest} has {lengths[longest]} tokens, more than length={length};"
            " truncate it when tokenising"
        )
    if "token_type_ids" in features:
        types = np.array([len(row) for row in features["token_type_ids"]])
        if (types != lengths).any():
            row = int(np.argmax(types != lengths))
            raise UserError(f"row {row}: {types[row]} token_type_ids for {lengths[row]} input_ids")
