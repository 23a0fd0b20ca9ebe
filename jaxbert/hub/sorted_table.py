"""LevelDB's file of sorted entries, in which TensorFlow keeps the index of a checkpoint."""

from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np

from jaxbert.errors import UserError
from jaxbert.text.protocol_buffer import varint

MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5


def read_table(file: Path) -> dict[bytes, bytes]:
    """Every key and value of a table; raises UserError where a checksum or the format is wrong.

    Format: doc/table_format.md of LevelDB.
    """
    data = file.read_bytes()
    if int.from_bytes(data[-8:], "little") != MAGIC:
        raise UserError(f"{file} is no whole index of a TensorFlow checkpoint: fetch it again")
    try:
        _, _, at = _handle(data, len(data) - _FOOTER)
        offset, size, _ = _handle(data, at)
        index = _entries(_block(data, offset, size))
        handles = [_handle(value, 0)[:2] for _, value in index]
        return {key: value for handle in handles for key, value in _entries(_block(data, *handle))}
    except (IndexError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}): fetch it again") from None


def masked_checksum(data: bytes | np.ndarray) -> int:
    """CRC-32C as LevelDB and TensorFlow store it, of any contiguous read-only buffer."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Offset and size of a block, and where the two end."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return offset, size, at


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    compression, stored = data[end], data[end + 1 : end + _TRAILER]
    if masked_checksum(data[offset : end + 1]) != int.from_bytes(stored, "little"):
        raise ValueError(f"the checksum of the block at {offset} is wrong")
    if compression:
        raise ValueError("it is compressed, which TensorFlow never writes")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys share a prefix with the one before; the positions of whole keys end the block."""
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        size, at = varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared + size
        yield key, block[at - size : at]
