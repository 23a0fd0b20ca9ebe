"""SentencePiece model files (`.model`), read as the protocol buffers that they are."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

from jaxbert.errors import UserError

CONTROL, USER_DEFINED = 3, 4
"""Kinds of pieces that are found in text before it is cut into pieces."""

_NORMAL, _UNIGRAM = 1, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True)
class SentencePieceModel:
    """Pieces in the order of their ids with their log probabilities and kinds.

    `charsmap` is the compiled normalization; None where the text is taken as it is.
    """

    pieces: list[tuple[str, float]]
    kinds: list[int]
    unk_id: int
    charsmap: bytes | None


def read_sentencepiece(file: Path) -> SentencePieceModel:
    """The unigram model in a file; anything else is a UserError.

    Field numbers are those of sentencepiece_model.proto of the SentencePiece project.
    """
    try:
        model = _parse(file.read_bytes())
    except ValueError as error:
        raise UserError(
            f"{file}: not a whole SentencePiece model ({error}); fetch the file again"
        ) from None
    if model is None:
        raise UserError(
            f"{file}: a SentencePiece model that is not of type unigram; give the tokenizer's"
            " tokenizer.json beside it"
        )
    return model


def _parse(data: bytes) -> SentencePieceModel | None:
    pieces: list[tuple[str, float]] = []
    kinds: list[int] = []
    unk_id, charsmap, model_type = 0, b"", _UNIGRAM
    for number, value in _fields(data):
        if number == 1:
            text, score, kind = _piece(_message(value))
            pieces.append((text, score))
            kinds.append(kind)
        elif number == 2:
            trainer = dict(_fields(_message(value)))
            model_type = _integer(trainer.get(3, _UNIGRAM))
            unk_id = _integer(trainer.get(40, 0))
        elif number == 3:
            charsmap = _message(dict(_fields(_message(value))).get(2, b""))
    if not 0 <= unk_id < len(pieces):
        raise ValueError(f"{len(pieces)} pieces, the unknown one is number {unk_id}")
    if charsmap:
        check_charsmap(charsmap)
    if model_type != _UNIGRAM:
        return None
    return SentencePieceModel(pieces, kinds, unk_id, charsmap or None)


def _piece(data: bytes) -> tuple[str, float, int]:
    fields = dict(_fields(data))
    packed = _message(fields.get(2, bytes(4)))
    score = struct.unpack("<f", packed)[0] if len(packed) == 4 else nan
    if not isfinite(score):
        raise ValueError("a piece without a finite score")
    return _message(fields.get(1, b"")).decode("utf-8"), score, _integer(fields.get(3, _NORMAL))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a message: an int for a varint, else bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise ValueError(f"no such type of field: {wire}")
        if at + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("it ends in the middle of a number")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where text was expected")
    return value


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("text where a number was expected")
    return value


def check_charsmap(charsmap: bytes) -> None:
    """Raise a ValueError where it is not the size of a trie, the trie, then text."""
    size = int.from_bytes(charsmap[:4], "little")
    if size == 0 or size % 4 or size + 4 > len(charsmap):
        raise ValueError("its normalization table is cut")
    charsmap[size + 4 :].decode("utf-8")
