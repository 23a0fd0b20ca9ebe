"""Words of a corpus, and into how many pieces a tokenizer cuts them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from jaxbert.text.tokenizer import Tokenizer

_PUNCTUATION = r"!-/:-@\[-`{-~"
# The ranges of BERT's basic tokenization: each of these characters is a word.
_CHINESE = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f"
)
_LAST_PUNCTUATION = 0x20000
_MANY = 5
"""Words of this many pieces and more are counted together."""


@dataclass(frozen=True)
class SplitWord:
    """A word that is cut; `extra_tokens` is what the corpus would save if it were one piece."""

    word: str
    count: int
    pieces: tuple[str, ...]
    extra_tokens: int


@dataclass(frozen=True)
class WordFigures:
    """Shares are of word occurrences; None where there are no words.

    `distribution` has the shares of words of 1, 2, 3, 4, 5+ pieces, and of those with an unknown
    piece; it adds up to 1. `mean_pieces` leaves the unknown ones out. Types are distinct words, as
    the tokenizer's normalization leaves them.
    """

    words: int
    types: int
    mean_pieces: float | None
    distribution: Mapping[str, float]
    kept_whole: float | None
    types_kept_whole: float | None
    unknown: int
    unknown_rate: float | None
    most_split: tuple[SplitWord, ...]
    most_unknown: tuple[tuple[str, int], ...]


@lru_cache
def word_finder() -> Callable[[str], list[str]]:
    """From a text to its words: what BERT's basic tokenization gives, without the punctuation.

    It is the same for every tokenizer, so that their figures can be compared.
    """
    marks = [
        chr(code)
        for code in range(128, _LAST_PUNCTUATION)
        if unicodedata.category(chr(code)).startswith("P")
    ]
    apart = _PUNCTUATION + re.escape("".join(marks))
    return re.compile(rf"[{_CHINESE}]|[^\s{apart}{_CHINESE}]+").findall


def word_figures(tokenizer: Tokenizer, counts: Mapping[str, int], shown: int) -> WordFigures:
    """Every distinct word is encoded once, alone and as after a space; `shown` bounds the lists.

    In WordPiece that is exact. Elsewhere a word next to punctuation may be cut in another way.
    """
    merged = _merge(tokenizer, counts)
    words = list(merged)
    times = np.fromiter(merged.values(), np.int64, len(words))
    space = " " if tokenizer.tells_leading_space else ""
    tokens, lengths = tokenizer.encode_flat([space + word for word in words])
    ends = np.cumsum(lengths)
    unknown_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(tokens == tokenizer.unk_id)])
    unknown = unknown_before[ends] > unknown_before[ends - lengths]
    whole = (lengths == 1) & ~unknown
    extra = np.where(unknown, 0, times * np.maximum(lengths - 1, 0))
    vocab = tokenizer.vocab()
    total, known = int(times.sum()), int(times[~unknown].sum())
    return WordFigures(
        words=total,
        types=len(words),
        mean_pieces=share(int((times * lengths)[~unknown].sum()), known),
        distribution=_distribution(times, lengths, unknown),
        kept_whole=share(int(times[whole].sum()), total),
        types_kept_whole=share(int(whole.sum()), len(words)),
        unknown=total - known,
        unknown_rate=share(total - known, total),
        most_split=tuple(
            SplitWord(
                words[i],
                int(times[i]),
                tuple(vocab[token] for token in tokens[ends[i] - lengths[i] : ends[i]]),
                int(extra[i]),
            )
            for i in _largest(extra, words, shown)
        ),
        most_unknown=tuple(
            (words[i], int(times[i])) for i in _largest(times * unknown, words, shown)
        ),
    )


def unknown_characters(
    tokenizer: Tokenizer, counts: NDArray[np.int64], shown: int
) -> tuple[tuple[str, int], ...]:
    """The commonest characters that alone give the unknown token; `counts` is [code points]."""
    codes = np.flatnonzero(counts)
    characters = [chr(code) for code in codes]
    tokens, lengths = tokenizer.encode_flat(characters)
    owner = np.repeat(np.arange(len(codes)), lengths)
    unknown = np.zeros(len(codes), np.int64)
    unknown[owner[tokens == tokenizer.unk_id]] = 1
    times = counts[codes] * unknown
    return tuple((characters[i], int(times[i])) for i in _largest(times, characters, shown))


def share(part: int, whole: int) -> float | None:
    """A quotient; None of nothing."""
    return part / whole if whole else None


def _merge(tokenizer: Tokenizer, counts: Mapping[str, int]) -> Counter[str]:
    """Words that are one to the tokenizer (`The` and `the` to one that lowercases) are one here."""
    normalizer = tokenizer.backend.normalizer
    if normalizer is None:
        return Counter(counts)
    merged: Counter[str] = Counter()
    for word, count in counts.items():
        # What vanishes altogether keeps its name.
        merged[normalizer.normalize_str(word).strip() or word] += count
    return merged


def _distribution(
    times: NDArray[np.int64], lengths: NDArray[np.int64], unknown: NDArray[np.bool_]
) -> dict[str, float]:
    total = int(times.sum())
    if not total:
        return {}
    # A word of control characters alone has no piece at all and is counted with those of one.
    group = np.where(unknown, _MANY + 1, np.clip(lengths, 1, _MANY))
    sums = np.bincount(group, weights=times, minlength=_MANY + 2)
    names = [*map(str, range(1, _MANY)), f"{_MANY}+", "unknown"]
    return {name: float(sums[i]) / total for i, name in enumerate(names, start=1)}


def _largest(values: NDArray[np.int64], names: list[str], count: int) -> list[int]:
    """Indices of the largest values above 0; of equal ones the first in the alphabet."""
    positive = np.flatnonzero(values > 0).tolist()
    return nsmallest(count, positive, key=lambda i: (-values[i], names[i]))
