"""Token ids of large batches of text, each distinct word encoded once."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import tokenizers

from jaxbert.text.residues import residue_table

# BERT's pre-tokenizer always splits at these: ASCII white space that text cleaning turns into a
# space, and ASCII punctuation. Everything else (control characters, other alphabets' spaces and
# punctuation, Chinese) stays inside a chunk for the backend to treat.
_CHUNK = re.compile(r"[^ \t\n\r!-/:-@\[-`{-~]+|[!-/:-@\[-`{-~]")
_MAX_CACHED_CHARACTERS = 32 * 2**20
_MAX_CACHED_CHUNKS = 2**20
_CHARACTERS_AT_ONCE = 2**20


class BatchEncoder:
    """Encodes texts without special tokens; a cache makes the usual word cost one lookup.

    The cache is exact for WordPiece behind BERT's normalizer and pre-tokenizer, which treat words
    independently of their neighbours. Sequences of residues are looked up letter by letter. Any
    other tokenizer goes to the backend text by text.
    """

    def __init__(self, backend: tokenizers.Tokenizer):
        # A private copy: recognising special tokens in text is a switch on the whole object.
        self._backend = tokenizers.Tokenizer.from_str(backend.to_str())
        self._backend.encode_special_tokens = True
        self._treats_words_alone = _treats_words_alone(backend)
        self._residues = residue_table(backend)
        self._clear()

    def _clear(self) -> None:
        self._rows = _Rows()
        self._characters = 0
        self._count = 0
        self._starts = np.zeros(1024, np.int64)
        self._lengths = np.zeros(1024, np.int64)
        self._pieces = np.zeros(4096, np.int32)

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(tokens int32 [sum of lengths], lengths int64 [texts]), some texts at a time."""
        tokens, lengths = zip(*map(self._encode_some, _portions(texts)), strict=True)
        return np.concatenate(tokens), np.concatenate(lengths)

    def _encode_some(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if self._residues is not None:
            return self._encode_residues(texts, self._residues)
        if not self._treats_words_alone:
            return self._encode_directly(texts)
        if len(self._rows) > _MAX_CACHED_CHUNKS or self._characters > _MAX_CACHED_CHARACTERS:
            self._clear()
        chunks = [_CHUNK.findall(text) for text in texts]
        counts = np.fromiter(map(len, chunks), np.int64, len(chunks))
        flat = chain.from_iterable(chunks)
        try:
            rows = np.fromiter(map(self._rows.__getitem__, flat), np.int64, int(counts.sum()))
            self._learn(self._rows.take_new())
        except BaseException:
            # Chunks that have a row and no pieces would be left out of every later text.
            self._clear()
            raise
        lengths = self._lengths[rows]
        tokens = _gather(self._pieces, self._starts[rows], lengths)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return tokens, np.diff(ends[bounds])

    def _encode_directly(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return _flatten([encoding.ids for encoding in encodings])

    def _encode_residues(
        self, texts: Sequence[str], table: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        joined = "".join(texts)
        if joined.isascii():
            tokens = table[np.frombuffer(joined.encode(), np.uint8)]
            if (tokens >= 0).all():
                return tokens, np.fromiter(map(len, texts), np.int64, len(texts))
        if len(texts) == 1:
            return self._encode_directly(texts)
        # One text of others leaves the rest as quick as they were.
        tokens, lengths = zip(*(self._encode_residues([t], table) for t in texts), strict=True)
        return np.concatenate(tokens), np.concatenate(lengths)

    def _learn(self, new: list[str]) -> None:
        pieces, lengths = self._encode_directly(new)
        used, end = self._count, len(self._rows)
        first = end - len(new)
        self._pieces = _with_room(self._pieces, used + len(pieces))
        self._starts = _with_room(self._starts, end)
        self._lengths = _with_room(self._lengths, end)
        self._pieces[used : used + len(pieces)] = pieces
        self._lengths[first:end] = lengths
        self._starts[first:end] = used + np.cumsum(lengths) - lengths
        self._count += len(pieces)
        self._characters += sum(map(len, new))


class _Rows(dict[str, int]):
    """Numbers chunks in the order in which they are first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._new: list[str] = []

    def __missing__(self, chunk: str) -> int:
        self[chunk] = row = len(self)
        self._new.append(chunk)
        return row

    def take_new(self) -> list[str]:
        taken, self._new = self._new, []
        return taken


def _treats_words_alone(backend: tokenizers.Tokenizer) -> bool:
    parts = json.loads(backend.to_str())
    kinds = [(parts[name] or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")]
    if kinds != ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
        return False
    # An added token that is not special is searched for in the raw text and may hold a space.
    plain_added = any(not token["special"] for token in parts["added_tokens"])
    return parts["normalizer"]["clean_text"] and not plain_added


def _portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """At least one; a tokenizer at work needs many times the memory of what it encodes at once."""
    start = characters = 0
    for end, text in enumerate(texts):
        if characters >= _CHARACTERS_AT_ONCE:
            yield texts[start:end]
            start, characters = end, 0
        characters += len(text)
    yield texts[start:]


def _flatten(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths


def _gather(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenation of values[start : start + length], without a Python loop."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return values[np.arange(total) + np.repeat(starts - (ends - lengths), lengths)]


def _with_room(array: np.ndarray, size: int) -> np.ndarray:
    if size <= len(array):
        return array
    return np.resize(array, max(size, 2 * len(array)))
