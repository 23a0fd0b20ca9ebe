"""How texts of any length become examples that fit a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxbert.data.truncation import Truncation, truncated
from jaxbert.data.windows import windows
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import Tokenizer

Combination = Literal["mean", "max", "last_weighted"]


@dataclass(frozen=True)
class WindowConfig:
    """Every text whole, a longer one in overlapping windows; of a pair the second text."""

    stride: int = 128
    """Tokens that a window shares with the one before it, as in transformers."""
    combine: Combination = "mean"
    """The outputs of a text: mean or maximum over its windows, or window i weighs i."""

    def __post_init__(self) -> None:
        if self.stride < 0:
            raise UserError(f"windows.stride={self.stride}: must be at least 0")


@dataclass(frozen=True)
class Reading:
    """What a model reads of a text."""

    max_seq_length: int
    truncation: Truncation = "head"
    head_share: float = 0.25
    windows: WindowConfig | None = None

    def __post_init__(self) -> None:
        check_reading(self.truncation, self.head_share, self.windows, self.max_seq_length)


def check_reading(
    truncation: Truncation,
    head_share: float,
    windows: WindowConfig | None,
    max_seq_length: int | None,
) -> None:
    """Raises UserError where the options make no sense or not together.

    `max_seq_length` is None where it is not known yet.
    """
    if not 0.0 < head_share < 1.0:
        raise UserError(f"head_share={head_share}: must be between 0 and 1")
    if windows is not None and truncation != "head":
        raise UserError(f"windows read all of a text, truncation={truncation} a part: drop one")
    if windows is not None and max_seq_length is not None and windows.stride >= max_seq_length:
        raise UserError(
            f"windows.stride={windows.stride} are to overlap of max_seq_length={max_seq_length} "
            "tokens: take a smaller stride or a greater length"
        )


def _number(text: int) -> str:
    return f"text {text + 1}"


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    reading: Reading,
    place: Callable[[int], str] = _number,
) -> dict[str, Any]:
    """Ragged `input_ids` and `token_type_ids`, an array an example of at most max_seq_length.

    Raises UserError for a text that windows have no room for, and calls it by its `place`.

    Windows besides have `document_ids` int32 [examples], the number of the text that each is of,
    and `weights` float32 [examples], which add up to the same for every text and are 1 on average.
    """
    length = reading.max_seq_length
    if reading.windows is None and reading.truncation == "head":
        encoded = tokenizer.encode(texts, pairs, max_length=length, padding=False)
        return {name: encoded[name] for name in ("input_ids", "token_type_ids")}
    special = tokenizer.num_special_tokens(pair=pairs is not None)
    if length <= special:
        raise UserError(
            f"max_seq_length={length} leaves no room for text beside {special} special tokens"
        )
    whole = tokenizer.encode_whole(texts, pairs)
    if reading.windows is None:
        found = [truncated(text, length, reading.truncation, reading.head_share) for text in whole]
        return _features(found)
    stride, cut = reading.windows.stride, []
    for number, text in enumerate(whole):
        try:
            cut.append([text.take(places) for places in windows(text, length, stride)])
        except UserError as error:
            raise UserError(f"{place(number)}: {error}") from None
    counts = np.array([len(parts) for parts in cut])
    return {
        **_features([part for parts in cut for part in parts]),
        "document_ids": np.repeat(np.arange(len(cut)), counts).astype(np.int32),
        "weights": np.repeat(counts.mean() / counts, counts).astype(np.float32),
    }


def _features(texts: Sequence[Any]) -> dict[str, Any]:
    return {
        "input_ids": [text.input_ids for text in texts],
        "token_type_ids": [text.token_type_ids for text in texts],
    }


def usual_length(lengths: Sequence[int]) -> int:
    """The length that 95 % of examples do not exceed, rounded up to a multiple of 8."""
    percentile = int(np.percentile(lengths, 95, method="inverted_cdf"))
    return -(-percentile // 8) * 8
