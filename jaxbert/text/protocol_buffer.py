"""Protocol buffers without their library: the fields of a message by number."""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


def fields_of(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a message: an int for a varint, else bytes.

    Raises ValueError where it ends too early, or has what no message has.
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = varint(data, at)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise ValueError(f"no such type of field: {wire}")
        if at + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte, and where it ends; else ValueError."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("it ends in the middle of a number")


def message(value: int | bytes) -> bytes:
    """The bytes of a field; ValueError where it is a number."""
    if isinstance(value, int):
        raise ValueError("a number where text was expected")
    return value


def integer(value: int | bytes) -> int:
    """The number of a field; ValueError where it is bytes."""
    if isinstance(value, bytes):
        raise ValueError("text where a number was expected")
    return value
