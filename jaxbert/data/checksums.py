"""CRC-32C of a stream in blocks, and of streams that are put together without reading them."""

from functools import cache

import google_crc32c
import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 2**16
# Castagnoli's polynomial, lowest power in the highest bit, as CRC-32C has it.
_POLYNOMIAL = 0x82F63B78
_ONE = 0x80000000


class RunningChecksum:
    """CRC-32C of all bytes so far, and of every block of them."""

    def __init__(self) -> None:
        self.value = 0
        self._blocks: list[int] = []
        self._block = self._filled = 0

    def update(self, data: bytes) -> None:
        """Go on with more bytes."""
        self.value = google_crc32c.extend(self.value, data)
        start = 0
        while start < len(data):
            piece = data[start : start + BLOCK_BYTES - self._filled]
            self._block = google_crc32c.extend(self._block, piece)
            self._filled += len(piece)
            start += len(piece)
            if self._filled == BLOCK_BYTES:
                self._blocks.append(self._block)
                self._block = self._filled = 0

    def blocks(self) -> NDArray[np.uint32]:
        """One checksum a block; the last block may be short."""
        last = [self._block] if self._filled else []
        return np.array(self._blocks + last, "<u4")


def joined_checksum(first: int, second: int, second_bytes: int) -> int:
    """CRC-32C of two streams one after the other, from theirs and the length of the second.

    A CRC is a remainder modulo a polynomial: the first is shifted past the second, as in zlib's
    crc32_combine.
    """
    return _product(_shift(second_bytes), first) ^ second


@cache
def _shift(num_bytes: int) -> int:
    """x to the power of 8 * num_bytes, modulo the polynomial."""
    result, square = _ONE, _ONE >> 8
    while num_bytes:
        if num_bytes & 1:
            result = _product(result, square)
        square = _product(square, square)
        num_bytes >>= 1
    return result


def _product(first: int, second: int) -> int:
    product = 0
    while first:
        if first & _ONE:
            product ^= second
        first = (first << 1) & 0xFFFFFFFF
        second = (second >> 1) ^ (_POLYNOMIAL if second & 1 else 0)
    return product
