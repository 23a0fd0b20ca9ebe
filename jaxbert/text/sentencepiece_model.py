"""SentencePiece model files (`.model`), read as the protocol buffers that they are."""

import struct
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path

from jaxbert.errors import UserError
from jaxbert.text.protocol_buffer import fields_of, integer, message

CONTROL, USER_DEFINED = 3, 4
"""Kinds of pieces that are found in text before it is cut into pieces."""

_NORMAL, _UNIGRAM = 1, 1


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
    for number, value in fields_of(data):
        if number == 1:
            text, score, kind = _piece(message(value))
            pieces.append((text, score))
            kinds.append(kind)
        elif number == 2:
            trainer = dict(fields_of(message(value)))
            model_type = integer(trainer.get(3, _UNIGRAM))
            unk_id = integer(trainer.get(40, 0))
        elif number == 3:
            charsmap = message(dict(fields_of(message(value))).get(2, b""))
    if not 0 <= unk_id < len(pieces):
        raise ValueError(f"{len(pieces)} pieces, the unknown one is number {unk_id}")
    if charsmap:
        check_charsmap(charsmap)
    if model_type != _UNIGRAM:
        return None
    return SentencePieceModel(pieces, kinds, unk_id, charsmap or None)


def _piece(data: bytes) -> tuple[str, float, int]:
    fields = dict(fields_of(data))
    packed = message(fields.get(2, bytes(4)))
    score = struct.unpack("<f", packed)[0] if len(packed) == 4 else nan
    if not isfinite(score):
        raise ValueError("a piece without a finite score")
    return message(fields.get(1, b"")).decode("utf-8"), score, integer(fields.get(3, _NORMAL))


def check_charsmap(charsmap: bytes) -> None:
    """Raise a ValueError where it is not the size of a trie, the trie, then text."""
    size = int.from_bytes(charsmap[:4], "little")
    if size == 0 or size % 4 or size + 4 > len(charsmap):
        raise ValueError("its normalization table is cut")
    charsmap[size + 4 :].decode("utf-8")
