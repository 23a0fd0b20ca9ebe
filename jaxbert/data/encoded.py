"""A table of tokenised examples, from which every layout of rows is made."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Batch, Indices
from jaxbert.data.masking import IGNORED
from jaxbert.errors import UserError

Features = Mapping[str, Sequence[Any] | NDArray[Any]]

_TOKENS = ("input_ids", "token_type_ids")
_ATTENTION_MASK = "attention_mask"
_ROW_IDS, _WEIGHTS, _TEXT_IDS = "row_ids", "weights", "text_ids"


class EncodedExamples:
    """Examples by number; immutable, so that threads and processes may share it.

    `features` holds columns of two kinds. Per token: `input_ids`, `token_type_ids` (zeros where
    missing) and the columns named in `per_token`, each a sequence of rows with a whole number for
    every token. Per example: everything else, arrays [examples, ...], kept as int32 or float32;
    one that speaks of tokens counts them from the start of its example. `weights` are 1 where the
    features have none. `attention_mask` counts where `per_token` names it: 0 for tokens that no
    other attends to. What is filled up has -100 for integer `labels`, per token or example, and
    0 in every other column.

    An example may be several texts: `text_ids` [examples, texts] then says which text stands where,
    -1 for none, and columns per token have examples * texts rows, those of an example one after
    another, without tokens where there is no text.
    """

    def __init__(self, features: Features, *, pad_id: int, per_token: Sequence[str] = ()):
        if len(features["input_ids"]) == 0:
            raise UserError("no examples to make batches of; check the data file and its columns")
        lengths: Indices = np.array([len(row) for row in features["input_ids"]], np.int64)
        self.texts: int | None = None
        """Texts of every example; None: each is one, and batches have no axis for them."""
        if _TEXT_IDS in features:
            self.texts = np.asarray(features[_TEXT_IDS]).shape[1]
        names = [name for name in (*_TOKENS, *per_token) if name in features]
        _check(features, names, lengths, self.texts)
        self.text_lengths: Indices = lengths.reshape(-1, self.texts or 1)
        """Tokens of every text: [examples, texts]."""
        self._starts = (np.cumsum(lengths) - lengths).reshape(self.text_lengths.shape)
        self._tokens = {
            name: np.concatenate([np.asarray(row, dtype=np.int32) for row in features[name]])
            for name in names
        }
        self._tokens.setdefault("token_type_ids", np.zeros(lengths.sum(), np.int32))
        self._columns = {
            name: _column(values)
            for name, values in features.items()
            if name not in (*names, _ATTENTION_MASK)
        }
        self._columns.setdefault(_WEIGHTS, np.ones(len(self.lengths), np.float32))
        self._columns[_ROW_IDS] = np.arange(len(self.lengths), dtype=np.int32)
        self._fills = {"input_ids": pad_id, _ROW_IDS: -1, _TEXT_IDS: -1}
        if self._kind("labels") == "i":
            self._fills["labels"] = IGNORED

    def __len__(self) -> int:
        return len(self.text_lengths)

    @property
    def lengths(self) -> Indices:
        """Tokens of the longest text of every example, which is the width that it needs."""
        return self.text_lengths.max(axis=1)

    @property
    def num_tokens(self) -> Indices:
        """Tokens of every example, of all its texts together."""
        return self.text_lengths.sum(axis=1)

    def _kind(self, name: str) -> str:
        column = self._tokens.get(name, self._columns.get(name))
        return "" if column is None else column.dtype.kind

    @property
    def token_columns(self) -> tuple[str, ...]:
        """Names of the columns with a value for every token."""
        return tuple(self._tokens)

    def tokens(self, name: str) -> NDArray[Any]:
        """A column per token, [tokens, ...]: those of one text after those of another."""
        return self._tokens[name]

    def fill(self, name: str) -> int:
        """What a column holds where there is no token or no example."""
        return self._fills.get(name, 0)

    def with_features(self, features: NDArray[np.float32]) -> "EncodedExamples":
        """These examples with a column of features, [tokens, ...] in the order of the texts.

        Or [examples, ...]: then a vector stands for an example's tokens, which become one. The
        array may be a file mapped into memory: batches read what they need of it.
        """
        assert self.texts is None
        other = copy.copy(self)
        other._tokens = self._tokens | {"features": features}
        if len(features) == len(self):
            other.text_lengths = np.ones((len(self), 1), np.int64)
            other._starts = np.arange(len(self))[:, None]
            nothing = np.zeros(len(self), np.int32)
            other._tokens = {"input_ids": nothing, "token_type_ids": nothing, "features": features}
        assert len(features) == other.text_lengths.sum(), features.shape
        return other

    def padded(self, numbers: Indices, width: int) -> Batch:
        """An example a row: token columns [rows, width], `attention_mask`, and the others [rows].

        With `row_ids` and `weights`. The number -1 gives a row that counts for nothing: it has
        row_ids -1, weights 0 and one visible padding token, as a text has that is not there. Token
        columns of examples of several texts are [rows, texts, width].
        """
        counts = numbers >= 0
        lengths = np.where(counts[:, None], self.text_lengths[numbers], 0)
        assert lengths.max(initial=0) <= width, (lengths.max(), width)
        is_real = np.arange(width) < lengths[..., None]
        source = (self._starts[numbers][..., None] + np.arange(width))[is_real]
        batch: Batch = {_ATTENTION_MASK: is_real.astype(np.int32)}
        for name, values in self._tokens.items():
            shape = (*is_real.shape, *values.shape[1:])
            batch[name] = np.full(shape, self.fill(name), values.dtype)
            batch[name][is_real] = values[source]
        # One position of a filler stays visible: a softmax over none is not a number.
        batch[_ATTENTION_MASK][lengths == 0, 0] = 1
        if self.texts is None:
            batch = {name: values[:, 0] for name, values in batch.items()}
        for name, column in self._columns.items():
            batch[name] = column[numbers]
            batch[name][~counts] = self.fill(name)
        return batch


def _column(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)


def _check(
    features: Features, per_token: Sequence[str], lengths: Indices, texts: int | None
) -> None:
    examples, rest = divmod(len(lengths), texts or 1)
    if rest:
        raise UserError(
            f"input_ids: {len(lengths)} rows, but text_ids has {texts} texts an example"
        )
    for name, values in features.items():
        expected = len(lengths) if name in per_token else examples
        if len(values) != expected:
            raise UserError(f"{name}: {len(values)} rows, but input_ids has {expected}")
    is_text = np.asarray(features.get(_TEXT_IDS, np.zeros(len(lengths)))).ravel() >= 0
    wrong = np.flatnonzero((lengths > 0) != is_text)
    if wrong.size:
        row = int(wrong[0]) // (texts or 1)
        raise UserError(f"row {row} has no tokens; expected [CLS] and [SEP] at least")
    for name in per_token:
        found = np.array([len(row) for row in features[name]])
        if (found != lengths).any():
            row = int(np.argmax(found != lengths))
            raise UserError(f"row {row}: {found[row]} {name} for {lengths[row]} input_ids")
