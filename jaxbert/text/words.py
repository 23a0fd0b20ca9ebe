"""Which pieces of a vocabulary begin a word and which continue one."""

import json
import string
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

# A space in byte-level BPE, and the other white space that a piece may start with.
_BYTE_LEVEL_SPACES = ("Ġ", "Ċ", "ĉ", "č")
_PUNCTUATION = frozenset(string.punctuation)


def continues_word(backend: Tokenizer, tokens: Sequence[str]) -> NDArray[np.bool_]:
    """bool [tokens]: the pieces that go on where the piece before them left off.

    WordPiece marks these; the others mark pieces that follow a space. There, a lone punctuation
    character and a piece of Chinese begin a word too, as in the pretraining code of ALBERT and
    DeBERTa. So do added tokens: they stand in text as they are. Residues are words of their own.
    """
    if isinstance(backend.model, models.WordLevel):
        return np.zeros(len(tokens), bool)
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    if isinstance(backend.model, models.WordPiece):
        prefix = backend.model.continuing_subword_prefix
        return np.array([t.startswith(prefix) and t not in added for t in tokens])
    if is_byte_level(backend):
        return np.array([not (t in added or _begins_bytes(t)) for t in tokens])
    return np.array([not (t in added or _begins_piece(t)) for t in tokens])


def is_byte_level(backend: Tokenizer) -> bool:
    """Whether the pieces are made of bytes, each written as one character."""
    if backend.pre_tokenizer is None:
        return False
    state: dict[str, Any] = json.loads(backend.pre_tokenizer.__getstate__())
    return "ByteLevel" in [part["type"] for part in state.get("pretokenizers", [state])]


def _begins_bytes(token: str) -> bool:
    # Characters beyond ASCII stand for parts of characters here.
    return token == "" or token.startswith(_BYTE_LEVEL_SPACES) or token in _PUNCTUATION


def _begins_piece(token: str) -> bool:
    if token == "" or token.startswith("▁") or token in _PUNCTUATION:
        return True
    if len(token) == 1 and unicodedata.category(token).startswith("P"):
        return True
    return unicodedata.name(token[0], "").startswith("CJK UNIFIED IDEOGRAPH")
