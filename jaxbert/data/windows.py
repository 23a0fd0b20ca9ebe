"""Long texts as overlapping windows, and answers as places in them."""

import numpy as np

from jaxbert.data.arrays import Indices
from jaxbert.errors import UserError
from jaxbert.text.encoded_text import EncodedText


def windows(text: EncodedText, max_length: int, stride: int) -> list[Indices]:
    """The places in `text` of the tokens of every window, in order; one where all of it fits.

    `stride` tokens stand both in a window and in the next, as in transformers' tokenizers with
    `return_overflowing_tokens`. Of a pair the windows run over the second member, and each has the
    whole first one (`truncation="only_second"`).
    """
    is_windowed = text.members == (1 if (text.members == 1).any() else 0)
    windowed, fixed = np.flatnonzero(is_windowed), np.flatnonzero(~is_windowed)
    room = max_length - len(fixed)
    if len(windowed) <= room:
        return [np.arange(len(text.members))]
    if room <= stride:
        raise UserError(
            f"a window of {max_length} tokens has room for {max(0, room)} of the long text beside "
            f"{len(fixed)} others, and stride={stride} are to overlap: take a smaller stride or a "
            "larger max_seq_length"
        )
    num_windows = 1 + -(-(len(windowed) - room) // (room - stride))
    starts = (room - stride) * np.arange(num_windows)
    return [np.sort(np.concatenate([fixed, windowed[a : a + room]])) for a in starts]


def answer_tokens(text: EncodedText, start: int, stop: int) -> tuple[int, int] | None:
    """First and last token of characters [start, stop) of the context, None where it has none.

    The context is the second member of a pair, or else the text.
    """
    first, last = text.offsets.T
    found = np.flatnonzero(_is_context(text) & (first < stop) & (last > start) & (first < last))
    return (int(found[0]), int(found[-1])) if found.size else None


def answer_labels(window: Indices, answer: tuple[int, int] | None) -> tuple[int, int]:
    """Where an answer starts and ends in a window; (0, 0), its [CLS], if not all of it is there.

    `window` is one of `windows`, `answer` comes from `answer_tokens`.
    """
    if answer is None or not np.isin(answer, window).all():
        return 0, 0
    start, end = np.searchsorted(window, answer)
    return int(start), int(end)


def _is_context(text: EncodedText) -> np.ndarray:
    return text.members == max(0, text.members.max(initial=0))
