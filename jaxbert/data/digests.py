"""Digests of 64 bits, and a set of very many of them."""

import hashlib
import unicodedata
from array import array


class DigestSet:
    """A set of 64-bit digests in one array: 12 to 24 bytes each, 36 while it grows.

    Two different texts among n share a digest with the probability n^2 / 2^65: 0.03 for 10^9.
    """

    def __init__(self) -> None:
        self._table = array("Q", [0]) * 1024
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, digest: int) -> bool:
        return self._table[_place(self._table, digest or 1)] != 0

    def add(self, digest: int) -> bool:
        """Put a digest in; whether it was new."""
        # Zero marks an empty place.
        digest = digest or 1
        place = _place(self._table, digest)
        if self._table[place]:
            return False
        self._table[place] = digest
        self._size += 1
        if 3 * self._size > 2 * len(self._table):
            self._grow()
        return True

    def _grow(self) -> None:
        table = array("Q", [0]) * (2 * len(self._table))
        for digest in filter(None, self._table):
            table[_place(table, digest)] = digest
        self._table = table


def _place(table: "array[int]", digest: int) -> int:
    """Where the digest is, or the empty place where it would be."""
    last = len(table) - 1
    place = digest & last
    while table[place] not in (0, digest):
        place = (place + 1) & last
    return place


def text_digest(text: str) -> int:
    """64 bits of a text's BLAKE2b, after NFC and with every run of white space as one space."""
    text = " ".join(text.split())
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return digest_of(text.encode("utf-8", "surrogatepass"))


def digest_of(data: bytes, salt: int = 0) -> int:
    """64 bits of BLAKE2b; every `salt` (below 2^32) is another function."""
    hashed = hashlib.blake2b(data, digest_size=8, salt=salt.to_bytes(4, "little"))
    return int.from_bytes(hashed.digest(), "little")
