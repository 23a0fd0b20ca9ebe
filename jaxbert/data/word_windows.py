"""Sentences of words as examples that fit a row, and which token answers for which word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxbert.data.arrays import Indices
from jaxbert.data.reading import Reading
from jaxbert.data.windows import windows
from jaxbert.errors import UserError
from jaxbert.text.encoded_text import EncodedText, EncodedWords
from jaxbert.text.tokenizer import Tokenizer

_UNCUT = 2**30
"""Context where the text itself begins or ends: more than any window has."""


@dataclass(frozen=True)
class WordWindows:
    """Examples of words that are numbered over all sentences.

    A sentence that is too long for a row is read in windows that overlap, and a word counts in one
    of them: where fewest of the tokens beside it are cut off, the first such.
    """

    input_ids: list[np.ndarray]
    token_type_ids: list[np.ndarray]
    words: list[np.ndarray]
    """The word that each token counts for; -1: none."""
    sentences: Indices
    """[examples] The number of the sentence that each is of."""
    firsts: Indices
    """[sentences + 1] The first word of each, and how many there are of all."""
    places: Indices
    """[words, 2] The example and the token that begin each word; -1 where no token does."""


def word_windows(
    tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], reading: Reading
) -> WordWindows:
    """Every sentence whole, in windows of at most `reading.max_seq_length` tokens.

    They share `reading.windows.stride` tokens, or a quarter of a window where that is not given.
    """
    if reading.truncation != "head":
        raise UserError(
            f"truncation={reading.truncation}: every word has a tag, so that longer sentences are "
            "read in windows; drop it (windows.stride says what windows share)"
        )
    room = reading.max_seq_length - tokenizer.num_special_tokens()
    if room < 1:
        raise UserError(f"max_seq_length={reading.max_seq_length} leaves no room for words")
    stride = room // 4 if reading.windows is None else reading.windows.stride
    counts = np.array([len(words) for words in sentences], np.int64)
    firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    ids, types, owners, numbers = [], [], [], []
    for number, text in enumerate(tokenizer.encode_words(sentences)):
        cut = _windows(text, reading.max_seq_length, stride)
        for window, words in zip(cut, _owners(text.words, cut), strict=True):
            ids.append(text.input_ids[window])
            types.append(text.token_type_ids[window])
            owners.append(np.where(words < 0, -1, words + firsts[number]))
            numbers.append(number)
    places = _places(owners, int(firsts[-1]))
    return WordWindows(ids, types, owners, np.array(numbers, np.int64), firsts, places)


def _windows(text: EncodedWords, length: int, stride: int) -> list[Indices]:
    if len(text.words) <= length:
        return [np.arange(len(text.words))]
    members = np.where(text.words < 0, -1, 0).astype(np.int32)
    offsets = np.zeros((len(members), 2), np.int32)
    return windows(
        EncodedText(text.input_ids, text.token_type_ids, members, offsets), length, stride
    )


def _owners(words: np.ndarray, cut: list[Indices]) -> list[np.ndarray]:
    """What each window's tokens count for: words that have most context in this window."""
    if len(cut) == 1:
        return [words]
    tokens = np.flatnonzero(words >= 0)
    numbers, begins = np.unique(words[tokens], return_index=True)
    ends = np.append(begins[1:], len(tokens)) - 1
    begins, ends = tokens[begins], tokens[ends]
    context = np.full((len(cut), len(numbers)), -_UNCUT)
    for row, window in enumerate(cut):
        inside = window[words[window] >= 0]
        start, last = inside[0], inside[-1]
        left = np.where(start == tokens[0], _UNCUT, begins - start)
        right = np.where(last == tokens[-1], _UNCUT, last - ends)
        there = (begins >= start) & (begins <= last)
        context[row] = np.where(there, np.minimum(left, right), -_UNCUT)
    best = np.full(words.max() + 1, -1)
    best[numbers] = context.argmax(axis=0)
    found = []
    for row, window in enumerate(cut):
        inside = words[window]
        found.append(np.where((inside >= 0) & (best[inside] == row), inside, -1))
    return found


def _places(owners: list[np.ndarray], num_words: int) -> Indices:
    places = np.full((num_words, 2), -1, np.int64)
    lengths = np.array([len(words) for words in owners], np.int64)
    flat = np.concatenate([np.zeros(0, np.int64), *owners])
    examples = np.repeat(np.arange(len(owners)), lengths)
    tokens = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    counted = np.flatnonzero(flat >= 0)
    numbers, begins = np.unique(flat[counted], return_index=True)
    begins = counted[begins]
    places[numbers] = np.stack([examples[begins], tokens[begins]], axis=1)
    return places
