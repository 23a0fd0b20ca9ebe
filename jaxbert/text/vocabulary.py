"""What a tokenizer learned from text, read from whichever files it came in."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from jaxbert.errors import UserError, kind_of
from jaxbert.text.sentencepiece_model import (
    CONTROL,
    USER_DEFINED,
    check_charsmap,
    read_sentencepiece,
)

Merges = Sequence[tuple[str, str]]

_LARGEST_ID = 2**24
"""More than any vocabulary has: lists of all tokens are made."""


@dataclass(frozen=True)
class Vocabulary:
    """`tokens` (and `merges`) of WordPiece and BPE, or `pieces` of a unigram model in order of id.

    `charsmap` is SentencePiece's compiled normalization; `symbols` are found in text before it is
    cut into pieces.
    """

    tokens: Mapping[str, int] = field(default_factory=dict)
    merges: Merges = ()
    pieces: Sequence[tuple[str, float]] = ()
    unk_id: int | None = None
    charsmap: bytes | None = None
    symbols: Sequence[AddedToken] = ()


def model_type(state: Mapping[str, Any]) -> str:
    """WordPiece, BPE, Unigram, ...: what the content of a tokenizer.json holds."""
    model = state.get("model") or {}
    if "type" in model:
        return model["type"]
    # tokenizers before 0.6 did not say.
    if "merges" in model:
        return "BPE"
    return "Unigram" if isinstance(model.get("vocab"), list) else "WordPiece"


def learned(backend: Tokenizer) -> Vocabulary:
    """The vocabulary of a backend that was trained."""
    return vocabulary_of(json.loads(backend.to_str()), Path("trained"))


def vocabulary_of(state: Mapping[str, Any], file: Path) -> Vocabulary:
    """The vocabulary within the content of a tokenizer.json; `file` is for errors."""
    model = state["model"]
    try:
        if model_type(state) == "Unigram":
            pieces = [(str(text), float(score)) for text, score in model["vocab"]]
            unk_id = model["unk_id"]
            if unk_id not in range(len(pieces)):
                raise ValueError(f"the unknown piece is number {unk_id} of {len(pieces)}")
            return Vocabulary(pieces=pieces, unk_id=unk_id, charsmap=_charsmap(state))
        tokens = {token: int(token_id) for token, token_id in model["vocab"].items()}
        if not all(0 <= token_id <= _LARGEST_ID for token_id in tokens.values()):
            raise ValueError(f"a token has an id that is not 0 to {_LARGEST_ID}")
        # Half of a surrogate pair is no character, and no tokenizer takes it.
        "".join(tokens).encode()
        merges = [_merge(merge) for merge in model.get("merges", ())]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{file}: its vocabulary is damaged ({' '.join(str(error).split())}); fetch it again"
        ) from None
    return _checked(tokens, merges, file)


def read_wordpiece(file: Path) -> Vocabulary:
    """A vocab.txt: a token a line, the id is the number of the line."""
    try:
        with open(file, encoding="utf-8") as lines:
            tokens = [line.rstrip("\n") for line in lines]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a vocabulary in UTF-8 ({error.reason})") from None
    return Vocabulary(tokens={token: i for i, token in enumerate(tokens) if token})


def read_bpe(file: Path) -> Vocabulary:
    """A vocab.json with the merges.txt beside it."""
    merges_file = file.with_name("merges.txt")
    if not merges_file.is_file():
        raise UserError(f"{merges_file}: missing; {file.name} alone does not tell how to merge")
    tokens = read_object(file)
    for token, token_id in tokens.items():
        if not isinstance(token_id, int):
            raise UserError(f"{file}: {token!r} has the id {token_id!r}; expected a whole number")
    try:
        lines = merges_file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{merges_file}: not UTF-8 ({error.reason})") from None
    # Only the first line is a comment: "#" can itself be part of a merge.
    if lines[0].startswith("#version"):
        del lines[0]
    merges = []
    for number, line in enumerate(lines):
        parts = line.split()
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
        elif parts:
            raise UserError(f"{merges_file}: merge {number + 1} is {line!r}; expected two pieces")
    return _checked(tokens, merges, merges_file)


def read_unigram(file: Path) -> Vocabulary:
    """A SentencePiece .model file."""
    model = read_sentencepiece(file)
    symbols = [
        AddedToken(text, normalized=False, special=kind == CONTROL)
        for (text, _), kind in zip(model.pieces, model.kinds, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    ]
    return Vocabulary(
        pieces=model.pieces, unk_id=model.unk_id, charsmap=model.charsmap, symbols=symbols
    )


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; none where there is no such file."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: expected a JSON object, found {kind_of(value)}")
    return value


def _checked(tokens: Mapping[str, int], merges: Merges, file: Path) -> Vocabulary:
    """The backend answers a merge outside the vocabulary with a bare Exception."""
    for left, right in merges:
        for token in (left, right, left + right):
            if token not in tokens:
                raise UserError(
                    f"{file}: the merge of {left!r} and {right!r} needs {token!r}, which is not in"
                    " the vocabulary; take both from the same tokenizer"
                )
    return Vocabulary(tokens=tokens, merges=merges)


def _merge(merge: str | Sequence[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _charsmap(state: Mapping[str, Any]) -> bytes | None:
    normalizer = state.get("normalizer") or {}
    for part in normalizer.get("normalizers", [normalizer]):
        if part.get("type") == "Precompiled":
            try:
                charsmap = base64.b64decode(part["precompiled_charsmap"], validate=True)
            except binascii.Error as error:
                raise ValueError(f"precompiled_charsmap: {error}") from None
            check_charsmap(charsmap)
            return charsmap
    return None
