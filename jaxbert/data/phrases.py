"""The phrases of a user in a batch of token rows, longest match first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Ids, Indices, Marks
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import Tokenizer

Hashes = NDArray[np.uint64]

MAX_TOKENS = 32
"""Of a phrase: every further token costs a pass over the batch."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIXER = np.uint64(0xBF58476D1CE4E5B9)


class Phrases:
    """Token sequences, each found where it begins and ends with whole words."""

    def __init__(self, phrases: Iterable[Sequence[int]]):
        by_length: dict[int, set[tuple[int, ...]]] = {}
        for phrase in phrases:
            by_length.setdefault(len(phrase), set()).add(tuple(phrase))
        self._tables = {
            length: _Table.of(np.array(sorted(same), np.int32))
            for length, same in sorted(by_length.items())
            if length > 1  # A token is a unit anyway.
        }

    @classmethod
    def read(cls, path: str | Path, tokenizer: Tokenizer) -> "Phrases":
        """One phrase a line, tokenised as text; UserError names a file or line that is of no use.

        A phrase with characters unknown to the vocabulary is never found.
        """
        lines = _lines(Path(path))
        texts = list(lines.values())
        found = tokenizer.encode_plain(texts)
        for number, tokens in zip(lines, found, strict=True):
            if len(tokens) > MAX_TOKENS:
                raise UserError(
                    f"{path}, line {number}: a phrase of {len(tokens)} tokens, at most"
                    f" {MAX_TOKENS} are possible: shorten it or leave it out"
                )
        if tokenizer.tells_leading_space:
            found += tokenizer.encode_plain([f" {text}" for text in texts])
        return cls(found)

    def __len__(self) -> int:
        return sum(len(table.hashes) for table in self._tables.values())

    def inside(self, input_ids: Ids, maskable: Marks, is_start: Marks) -> Marks:
        """True for the tokens of found phrases, but the first of each: bool [rows, seq].

        `is_start` marks the first tokens of words. Where phrases overlap, the longest is found, of
        equally long ones the leftmost.
        """
        width = input_ids.shape[1]
        longest = max(self._tables, default=0)
        # Windows are looked up in one long row; what is behind its end belongs to no word.
        ids = np.pad(input_ids.ravel(), (0, longest + 1))
        words = np.pad(maskable.ravel(), (0, longest + 1))
        ends_word = ~words | np.pad(is_start.ravel(), (0, longest + 1), constant_values=True)
        matches = {}
        for length, starts, hashes in self._windows(ids, np.flatnonzero(is_start)):
            at, tokens = self._tables[length].find(ids, starts, hashes)
            fits = (at % width + length <= width) & words[tokens].all(axis=1)
            matches[length] = at[fits & ends_word[at + length]]
        covered = np.zeros(len(ids), dtype=bool)
        inside = np.zeros(len(ids), dtype=bool)
        for length in reversed(matches):
            for at in _without_overlaps(matches[length], length, covered):
                inside[at[:, None] + np.arange(1, length)] = True
        return inside[: input_ids.size].reshape(input_ids.shape)

    def _windows(self, ids: Ids, starts: Indices) -> Iterable[tuple[int, Indices, Hashes]]:
        """For every length of a phrase: the hashes of the tokens from `starts` on."""
        mixed = _mixed(ids)
        hashes = np.zeros(len(starts), dtype=np.uint64)
        for length in range(1, max(self._tables, default=0) + 1):
            hashes = hashes * _FACTOR + mixed[starts + length - 1]
            if length in self._tables:
                yield length, starts, hashes


@dataclass(frozen=True)
class _Table:
    """Phrases of one length: ascending hashes [phrases] and their tokens [phrases, length].

    `may_have` tells by the high bits of a hash that most windows are no phrase.
    """

    hashes: Hashes
    tokens: Ids
    may_have: Marks

    @classmethod
    def of(cls, tokens: Ids) -> "_Table":
        hashes = np.zeros(len(tokens), dtype=np.uint64)
        for column in _mixed(tokens).T:
            hashes = hashes * _FACTOR + column
        order = np.argsort(hashes)
        hashes = hashes[order]
        assert (hashes[1:] != hashes[:-1]).all(), "two phrases with one hash of 64 bits"
        may_have = np.zeros(1 << min(22, (16 * len(tokens)).bit_length()), dtype=bool)
        may_have[_high_bits(hashes, may_have)] = True
        return cls(hashes, tokens[order], may_have)

    def find(self, ids: Ids, starts: Indices, hashes: Hashes) -> tuple[Indices, Indices]:
        """Which of `starts` begin a phrase, and the places of its tokens [found, length]."""
        near = np.flatnonzero(self.may_have[_high_bits(hashes, self.may_have)])
        row = np.searchsorted(self.hashes, hashes[near])
        row = np.minimum(row, len(self.hashes) - 1)
        places = starts[near, None] + np.arange(self.tokens.shape[1])
        is_equal = (self.tokens[row] == ids[places]).all(axis=1)
        return starts[near][is_equal], places[is_equal]


def _high_bits(hashes: Hashes, table: Marks) -> Indices:
    return (hashes >> np.uint64(65 - len(table).bit_length())).astype(np.int64)


def _mixed(ids: Ids) -> Hashes:
    """64 bits for each id that look random: sums of plain products of small ids would collide."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * _FACTOR
    return (mixed ^ (mixed >> np.uint64(29))) * _MIXER


def _without_overlaps(at: Indices, length: int, covered: Marks) -> Iterable[Indices]:
    """Matches of one length, from the left, that meet nothing covered; covers them."""
    window = np.arange(length)
    while True:
        at = at[~covered[at[:, None] + window].any(axis=1)]
        if not len(at):
            return
        is_first = np.ones(len(at), dtype=bool)
        is_first[1:] = np.diff(at) >= length
        covered[at[is_first, None] + window] = True
        yield at[is_first]


def _lines(path: Path) -> dict[int, str]:
    """The lines that are not blank by their numbers."""
    try:
        # Notepad's files begin with a mark, which would be part of the first phrase.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of phrases") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}") from None
    texts = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    if not texts:
        raise UserError(f"{path}: no phrases in it: give one a line")
    return texts
