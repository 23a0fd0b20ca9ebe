"""Writing a token store so that what lies at its path is either whole or not a store."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import google_crc32c
import numpy as np

from jaxbert.data.checksums import RunningChecksum
from jaxbert.data.description import FORMAT, VERSION
from jaxbert.data.partial import NOTES, PartialStore
from jaxbert.data.shard import (
    CHECKSUMS,
    DIGESTS,
    DOCUMENTS,
    MAX_TOKENS,
    OFFSET,
    SENTENCES,
    TOKENS,
    ShardRecord,
)
from jaxbert.data.store import (
    METADATA,
    SHARDS,
    shard_name,
    tokenizer_fingerprint,
)
from jaxbert.disk import sync
from jaxbert.errors import UserError

SHARD_TOKENS = 2**26


class StoreWriter:
    """Builds a store in `PATH.partial` and moves it to `PATH` when everything is on disk.

    A context manager: leaving it by an exception, or without `finish`, leaves nothing behind. A
    shard ends with the call that brings it to `shard_tokens`, so the documents of one call lie in
    one shard. Further files may be put into `directory` before `finish`. In a `partial` store that
    is at hand it goes on after the shards that its journal has.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        vocab_size: int,
        shard_tokens: int = SHARD_TOKENS,
        overwrite: bool = False,
        partial: PartialStore | None = None,
    ):
        self._partial = PartialStore(path, overwrite=overwrite) if partial is None else partial
        self.directory = self._partial.directory
        self.vocab_size = vocab_size
        self.shard_tokens = shard_tokens
        self.dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
        journal = self._partial.journal
        self.finished = [ShardRecord(**shard) for shard in journal.shards] if journal else []
        self._shard: _ShardWriter | None = None
        for entry in (self.directory / SHARDS).glob("*"):
            # What others put there, such as .DS_Store, is none of the store.
            if entry.name.isdecimal() and int(entry.name) >= len(self.finished):
                shutil.rmtree(entry)

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, documents: Iterable[Sequence[Sequence[int]]]) -> None:
        """Append documents: lists of sentences, which are lists of ids; empty ones are left out."""
        kept = [[s for s in document if len(s)] for document in documents]
        kept = [document for document in kept if document]
        sentences = [sentence for document in kept for sentence in document]
        self.append_arrays(
            np.concatenate([np.asarray(s) for s in sentences]) if sentences else np.zeros(0, int),
            np.array([len(s) for s in sentences], np.int64),
            np.array([len(document) for document in kept], np.int64),
        )

    def append_arrays(
        self, tokens: np.ndarray, sentence_lengths: np.ndarray, document_lengths: np.ndarray
    ) -> None:
        """Append documents as flat arrays: ids, tokens per sentence, sentences per document."""
        assert sentence_lengths.sum() == len(tokens)
        assert document_lengths.sum() == len(sentence_lengths)
        assert (sentence_lengths > 0).all()
        assert (document_lengths > 0).all()
        if not len(tokens):
            return
        if not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise ValueError(
                f"token ids go from {tokens.min()} to {tokens.max()},"
                f" outside the vocabulary of {self.vocab_size}"
            )
        if self._shard is None:
            directory = self.directory / shard_name(len(self.finished))
            self._shard = _ShardWriter(directory, self.dtype)
        self._shard.append(tokens, sentence_lengths, document_lengths)
        if self._shard.tokens >= self.shard_tokens:
            self.end_shard()

    def finish(self, description: Mapping[str, Any] | None = None) -> None:
        """Put everything on disk, describe it in store.json and move it to its path."""
        self.end_shard()
        write_metadata(
            self.directory, self.vocab_size, self.dtype, self.finished, description or {}
        )
        self._partial.publish()

    def end_shard(self) -> None:
        """Put the shard on disk that documents are appended to, where there is one."""
        if self._shard is not None:
            self.finished.append(self._shard.finish())
            self._shard = None

    def close(self) -> None:
        """Remove what was not finished and let other writers have the path."""
        if self._shard is not None:
            self._shard.close()
        self._partial.close()


class _ShardWriter:
    """Writes the files of one shard."""

    def __init__(self, directory: Path, dtype: np.dtype):
        self.documents = self.sentences = self.tokens = 0
        self._directory, self._dtype = directory, dtype
        directory.mkdir(parents=True)
        self._files: dict[str, IO[bytes]] = {
            name: open(directory / name, "wb")  # noqa: SIM115
            for name in (TOKENS, SENTENCES, DOCUMENTS, DIGESTS)
        }
        self._checksums = {name: RunningChecksum() for name in self._files}
        for name in (SENTENCES, DOCUMENTS):
            self._files[name].write(np.zeros(1, OFFSET).tobytes())

    def append(
        self, tokens: np.ndarray, sentence_lengths: np.ndarray, document_lengths: np.ndarray
    ) -> None:
        if self.tokens + len(tokens) > MAX_TOKENS:
            raise UserError(
                f"a document of more than {MAX_TOKENS - self.tokens} tokens cannot be stored;"
                " divide it in the source"
            )
        data = tokens.astype(self._dtype).tobytes()
        self._files[TOKENS].write(data)
        self._checksums[TOKENS].update(data)
        for name, lengths, before in (
            (SENTENCES, sentence_lengths, self.tokens),
            (DOCUMENTS, document_lengths, self.sentences),
        ):
            ends = before + np.cumsum(lengths, dtype=np.int64)
            self._files[name].write(ends.astype(OFFSET).tobytes())
            # Of lengths, which do not depend on where the shard begins.
            self._checksums[name].update(lengths.astype(OFFSET).tobytes())
        digests = _digests(tokens, sentence_lengths, document_lengths).tobytes()
        self._files[DIGESTS].write(digests)
        self._checksums[DIGESTS].update(digests)
        self.tokens += len(tokens)
        self.sentences += len(sentence_lengths)
        self.documents += len(document_lengths)

    def finish(self) -> ShardRecord:
        """Put the shard on disk."""
        blocks = self._checksums[TOKENS].blocks().tobytes()
        self._files[CHECKSUMS] = open(self._directory / CHECKSUMS, "wb")  # noqa: SIM115
        self._files[CHECKSUMS].write(blocks)
        self.close()
        for name in self._files:
            sync(self._directory / name)
        sync(self._directory)
        checksums = {
            "tokens": self._checksums[TOKENS].value,
            "sentence_lengths": self._checksums[SENTENCES].value,
            "document_lengths": self._checksums[DOCUMENTS].value,
            "blocks": google_crc32c.value(blocks),
            "document_digests": self._checksums[DIGESTS].value,
        }
        return ShardRecord(self.documents, self.sentences, self.tokens, checksums)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _digests(
    tokens: np.ndarray, sentence_lengths: np.ndarray, document_lengths: np.ndarray
) -> np.ndarray:
    """CRC-32C of every document's ids, whatever the dtype that they are stored in."""
    ends = np.cumsum(sentence_lengths)[np.cumsum(document_lengths) - 1]
    documents = np.split(tokens.astype("<u4"), ends[:-1])
    return np.array([google_crc32c.value(ids.tobytes()) for ids in documents], OFFSET)


def write_metadata(
    directory: Path,
    vocab_size: int,
    dtype: np.dtype,
    shards: Sequence[ShardRecord],
    description: Mapping[str, Any],
) -> None:
    """Put on disk what lies beside the shards, and describe everything in store.json."""
    entries = (e for e in directory.iterdir() if e.name not in (SHARDS, NOTES, METADATA))
    files = sorted(p for e in entries for p in (e, *e.rglob("*")) if p.is_file())
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype.name,
        "vocab_size": vocab_size,
        "documents": sum(shard.documents for shard in shards),
        "sentences": sum(shard.sentences for shard in shards),
        "tokens": sum(shard.tokens for shard in shards),
        "tokenizer": tokenizer_fingerprint(directory),
        "files": {p.relative_to(directory).as_posix(): p.stat().st_size for p in files},
        **description,
        "shards": [asdict(shard) for shard in shards],
    }
    for file in files:
        sync(file)
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    # What is no Unicode in the name of a file becomes an escape of JSON's.
    (directory / METADATA).write_text(text, encoding="utf-8", errors="backslashreplace")
    sync(directory / METADATA)
