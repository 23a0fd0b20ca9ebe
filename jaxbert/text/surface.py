"""What text a piece of a vocabulary stands for, however its tokenizer writes it."""

from typing import NamedTuple

import tokenizers
from tokenizers import decoders, models

from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.words import is_byte_level


class Surface(NamedTuple):
    """A piece as it stands in a text: `##ing`, and `ing` beside `▁ing`, are ("ing", True)."""

    text: str
    continues_word: bool


def surfaces(tokenizer: Tokenizer) -> list[Surface]:
    """In order of id; an id without a token and a part of a character have no text."""
    backend, tokens = tokenizer.backend, tokenizer.vocab()
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    continues = tokenizer.is_continuation().tolist()
    texts = [token if token in added else _text(backend, token) for token in tokens]
    return [Surface(*both) for both in zip(texts, continues, strict=True)]


def _text(backend: tokenizers.Tokenizer, token: str) -> str:
    if isinstance(backend.model, models.WordPiece):
        return token.removeprefix(backend.model.continuing_subword_prefix)
    if is_byte_level(backend):
        text = decoders.ByteLevel().decode([token])
        return "" if "\ufffd" in text else text.strip()
    return token.replace("▁", " ").strip()
