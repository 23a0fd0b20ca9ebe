"""The characters of tokens as a reader sees them: whole letters, and no space before a word."""

import unicodedata

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int32]


def whole_letters(text: str, offsets: Offsets) -> Offsets:
    """Offsets without the white space that they begin with, with the marks of their last letter.

    `offsets` [tokens, 2] are those of a tokenizer, in order. One that leaves accents out gives
    `cafe` of `cafe` and U+0301, one that composes letters gives the first character of each;
    DeBERTa's counts the space before a word to the word. A token of white space alone gets none.
    """
    if not text:
        return offsets
    first, last = offsets.T.copy()
    characters = np.frombuffer(text.encode("utf-32-le"), "<U1")
    while (
        begins := (first < last) & np.strings.isspace(characters.take(first, mode="clip"))
    ).any():
        first[begins] += 1
    if not text.isascii():
        _add_marks(text, last, np.append(np.sort(offsets[:, 0]), len(text)))
    return np.stack([first, last], axis=1)


def _add_marks(text: str, last: Offsets, starts: Offsets) -> None:
    """Moves ends behind the marks that follow, up to where any token starts."""
    stops = starts[np.searchsorted(starts, last)]
    for token in np.flatnonzero(last < stops).tolist():
        end, stop = int(last[token]), int(stops[token])
        while end < stop and _goes_on(text[end]):
            end += 1
        last[token] = end


def _goes_on(character: str) -> bool:
    """Whether this is part of the letter before it: a mark, or a vowel or end of a Hangul one."""
    is_jamo = "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb"
    return is_jamo or unicodedata.category(character)[0] == "M"
