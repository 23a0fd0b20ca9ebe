"""The token store: a corpus as one flat array of token ids with sentence and document bounds.

A directory holds `tokens.bin` (little-endian uint16 or uint32), `sentence_offsets.bin` and
`document_offsets.bin` (little-endian int64), the tokenizer, and `store.json`, which is written
last and says what the others must look like.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.errors import UserError

FORMAT = "jaxbert token store"
VERSION = 1
METADATA = "store.json"
TOKENS, SENTENCES, DOCUMENTS = "tokens.bin", "sentence_offsets.bin", "document_offsets.bin"


@dataclass(frozen=True)
class TokenStore:
    """A corpus of token ids, opened without reading it: every array is memory-mapped."""

    path: Path
    metadata: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> "TokenStore":
        """Open a finished store; anything else raises a UserError that says what it is instead."""
        path = Path(path)
        metadata = _read_metadata(path)
        for name, size in metadata["files"].items():
            file = path / name
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes"
                raise UserError(
                    f"{file}: the store is damaged: the file {state}, expected {size} bytes;"
                    " prepare it again"
                )
        return cls(path, metadata)

    @property
    def num_documents(self) -> int:
        """Number of documents, none of them empty."""
        return self.metadata["documents"]

    @property
    def num_sentences(self) -> int:
        """Number of sentences, none of them empty."""
        return self.metadata["sentences"]

    @property
    def num_tokens(self) -> int:
        """Number of tokens; no special tokens among them."""
        return self.metadata["tokens"]

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary that the ids come from."""
        return self.metadata["vocab_size"]

    @property
    def fingerprint(self) -> str:
        """Changes with any token or boundary: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.metadata["sha256"]).encode()).hexdigest()[:16]

    @property
    def dtype(self) -> np.dtype:
        """uint16 where the vocabulary allows, else uint32."""
        return np.dtype(self.metadata["dtype"])

    @property
    def tokenizer_directory(self) -> Path:
        """Where the tokenizer that made the tokens is saved."""
        return self.path / "tokenizer"

    @cached_property
    def tokens(self) -> np.ndarray:
        """All token ids in order: [tokens]."""
        return self._map(TOKENS, self.dtype, self.num_tokens)

    @cached_property
    def sentence_offsets(self) -> np.ndarray:
        """Sentence i is tokens[offsets[i] : offsets[i + 1]]: int64 [sentences + 1]."""
        return self._map(SENTENCES, np.dtype("<i8"), self.num_sentences + 1)

    @cached_property
    def document_offsets(self) -> np.ndarray:
        """Document i is sentences offsets[i] to offsets[i + 1]: int64 [documents + 1]."""
        return self._map(DOCUMENTS, np.dtype("<i8"), self.num_documents + 1)

    def sentence(self, index: int) -> np.ndarray:
        """Token ids of one sentence, counted over the whole store."""
        start, end = self.sentence_offsets[_checked(index, self.num_sentences) :][:2]
        return self.tokens[start:end]

    def document(self, index: int) -> list[np.ndarray]:
        """Token ids of every sentence of one document."""
        start, end = self.document_offsets[_checked(index, self.num_documents) :][:2]
        return [self.sentence(i) for i in range(start, end)]

    def _map(self, name: str, dtype: np.dtype, length: int) -> np.ndarray:
        return np.memmap(self.path / name, dtype=dtype, mode="r", shape=(length,))


def _checked(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise IndexError(f"index {index} is outside 0 to {count - 1}")
    return index


def _read_metadata(path: Path) -> dict[str, Any]:
    file = path / METADATA
    if not path.is_dir():
        raise UserError(f"{path}: no such token store; make it with `jaxbert prepare --out {path}`")
    if not file.is_file():
        raise UserError(
            f"{path}: not a token store, or one whose prepare was interrupted (it has no"
            f" {METADATA}); make it with `jaxbert prepare`"
        )
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not valid JSON ({error}); prepare the store again") from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{file}: not the description of a token store; give a store's directory")
    if metadata["version"] != VERSION:
        raise UserError(
            f"{file}: store version {metadata['version']}, this jaxbert reads version {VERSION};"
            " update jaxbert or prepare the store again"
        )
    return metadata
