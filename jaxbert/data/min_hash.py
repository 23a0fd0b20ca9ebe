"""MinHash signatures of texts, cut into bands that equal each other where texts are alike."""

import re
import unicodedata
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxbert.data.digests import digest_of
from jaxbert.errors import UserError

_SEED = 1
# A matrix of this many shingles by permutations stays in the cache, however long a document is.
_SHINGLES_AT_ONCE = 1024
_FOUND = 0.75
_ASCII_WORD = re.compile(rb"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# Written without spaces between words: a letter stands for a word there.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


@dataclass(frozen=True)
class NearDuplicateConfig:
    """How alike is too much alike, as the Jaccard similarity of the sets of word shingles.

    The defaults are FineWeb's (Penedo et al. 2024, section 3.4): 5-grams of words and 112
    permutations in 14 bands of 8, which find a pair of similarity 0.75 with probability 0.77, one
    of 0.85 with 0.99 and one of 0.5 with 0.05.
    """

    shingle_words: int = 5
    num_permutations: int = 112
    threshold: float = 0.75

    def __post_init__(self) -> None:
        if self.shingle_words < 1 or self.num_permutations < 2:
            raise UserError(
                "near duplicates: shingle_words must be at least 1 and num_permutations 2"
            )
        if not 0 < self.threshold < 1:
            raise UserError(
                f"near duplicates: threshold {self.threshold}; expected a number between 0 and 1"
            )

    @cached_property
    def bands_and_rows(self) -> tuple[int, int]:
        """Number of bands and permutations in each.

        The most selective bands that still find a pair at the threshold with probability 3/4.
        """
        for rows in range(self.num_permutations, 1, -1):
            bands = self.num_permutations // rows
            if 1 - (1 - self.threshold**rows) ** bands >= _FOUND:
                return bands, rows
        return self.num_permutations, 1


class Bands:
    """From a text to one digest a band; two texts whose digests meet in any band are near.

    Depends on nothing but the text, so it may be called in any process.
    """

    def __init__(self, config: NearDuplicateConfig) -> None:
        self._config = config
        self._num_bands, self._rows = config.bands_and_rows
        self._min_hash = _empty_min_hash(self._num_bands * self._rows)
        self._words = _Words()

    def __call__(self, text: str) -> tuple[int, ...]:
        """A 64-bit digest a band; none where the text has no words."""
        shingles = self._shingles(text)
        if not len(shingles):
            return ()
        min_hash = self._min_hash.copy()
        for start in range(0, len(shingles), _SHINGLES_AT_ONCE):
            min_hash.update_batch(shingles[start : start + _SHINGLES_AT_ONCE].tolist())
        bands = min_hash.hashvalues.astype("<u4").reshape(self._num_bands, self._rows)
        return tuple(digest_of(band.tobytes(), salt) for salt, band in enumerate(bands))

    def _shingles(self, text: str) -> np.ndarray:
        """uint32 [shingles]: hashes of all runs of words, of one where the text is shorter."""
        words = np.fromiter(map(zlib.crc32, self._words(text)), np.uint64)
        size = min(self._config.shingle_words, len(words))
        hashes = np.zeros(len(words) - size + 1 if size else 0, np.uint64)
        for offset in range(size):
            hashes = (hashes + words[offset : offset + len(hashes)]) * _MULTIPLIER
        return (hashes >> np.uint64(32)).astype(np.uint32)


class _Words:
    """Runs of letters and digits, and the single letters of scripts without spaces, as UTF-8."""

    def __init__(self) -> None:
        try:
            import regex
        except ModuleNotFoundError:
            raise UserError(_MISSING.format(package="regex")) from None
        # Python's own \w cuts words at combining marks.
        self._spaced = regex.compile(r"\w+")
        self._unspaced = regex.compile(f"[{_UNSPACED}]")
        self._mixed = regex.compile(rf"(?V1)[{_UNSPACED}]|[\w--[{_UNSPACED}]]+")

    def __call__(self, text: str) -> list[bytes]:
        text = text.lower()
        if text.isascii():
            return _ASCII_WORD.findall(text.encode())
        text = unicodedata.normalize("NFC", text)
        pattern = self._mixed if self._unspaced.search(text) else self._spaced
        return [word.encode() for word in pattern.findall(text)]


_MISSING = "near duplicates: needs the package {package}; install jaxbert[corpus]"


def _empty_min_hash(num_permutations: int) -> Any:
    try:
        from datasketch import MinHash
    except ModuleNotFoundError:
        raise UserError(_MISSING.format(package="datasketch")) from None
    return MinHash(num_permutations, seed=_SEED, hashfunc=int, scheme="affine32")
