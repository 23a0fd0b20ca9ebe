"""Writing a token store so that what lies at its path is either whole or not a store."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from jaxbert.data.store import DOCUMENTS, FORMAT, METADATA, SENTENCES, TOKENS, VERSION
from jaxbert.errors import UserError


class StoreWriter:
    """Builds a store in `PATH.partial` and moves it to `PATH` when everything is on disk.

    A context manager: leaving it by an exception, or without `finish`, leaves nothing behind. What
    a killed process left is removed by the next writer for the same path. Further files may be put
    into `directory` before `finish`.
    """

    def __init__(self, path: str | Path, *, vocab_size: int, overwrite: bool = False):
        self.path = Path(path)
        self.directory = self.path.with_name(self.path.name + ".partial")
        self.vocab_size = vocab_size
        self.dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
        self.num_documents = self.num_sentences = self.num_tokens = 0
        self._digests = {name: hashlib.sha256() for name in (TOKENS, SENTENCES, DOCUMENTS)}
        check_destination(self.path, overwrite)
        self._lock = _lock_directory(self.directory)
        self._files: dict[str, IO[bytes]] = {}
        try:
            _empty(self.directory)
            for name in (TOKENS, SENTENCES, DOCUMENTS):
                self._files[name] = open(self.directory / name, "wb")  # noqa: SIM115
        except BaseException:
            self.close()
            raise
        for name in (SENTENCES, DOCUMENTS):
            self._files[name].write(np.zeros(1, "<i8").tobytes())

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
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise ValueError(
                f"token ids go from {tokens.min()} to {tokens.max()},"
                f" outside the vocabulary of {self.vocab_size}"
            )
        sentence_ends = self.num_tokens + np.cumsum(sentence_lengths, dtype="<i8")
        document_ends = self.num_sentences + np.cumsum(document_lengths, dtype="<i8")
        for name, values in (
            (TOKENS, tokens.astype(self.dtype)),
            (SENTENCES, sentence_ends),
            (DOCUMENTS, document_ends),
        ):
            # Per file, or the digest would depend on how the documents were cut into calls.
            self._digests[name].update(values.tobytes())
            self._files[name].write(values.tobytes())
        self.num_tokens += len(tokens)
        self.num_sentences += len(sentence_lengths)
        self.num_documents += len(document_lengths)

    def finish(self, description: Mapping[str, Any] | None = None) -> None:
        """Put everything on disk, describe it in store.json and move it to its path."""
        for opened in self._files.values():
            opened.close()
        files = sorted(p for p in self.directory.rglob("*") if p.is_file())
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": self.dtype.name,
            "vocab_size": self.vocab_size,
            "documents": self.num_documents,
            "sentences": self.num_sentences,
            "tokens": self.num_tokens,
            "sha256": {name: digest.hexdigest() for name, digest in self._digests.items()},
            "files": {p.relative_to(self.directory).as_posix(): p.stat().st_size for p in files},
            **(description or {}),
        }
        for file in files:
            _sync(file)
        text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
        (self.directory / METADATA).write_text(text, encoding="utf-8")
        _sync(self.directory / METADATA)
        _sync(self.directory)
        _move(self.directory, self.path)

    def close(self) -> None:
        """Remove what was not finished and let other writers have the path."""
        for file in self._files.values():
            file.close()
        if self._lock is not None:
            if _is_still(self._lock, self.directory):
                shutil.rmtree(self.directory)
            os.close(self._lock)
            self._lock = None


def check_destination(path: Path, overwrite: bool) -> None:
    """Raise a UserError unless a store may be written to `path`.

    `overwrite` allows to replace a store, never a directory that holds something else.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / METADATA).is_file():
        raise UserError(f"{path}: exists and is not a token store; choose another --out")
    if not overwrite:
        raise UserError(
            f"{path}: a store is there already; add --overwrite or choose another --out"
        )


def _lock_directory(directory: Path) -> int | None:
    """Create and lock a directory; the lock goes with the process, however it ends."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                f"{directory}: another prepare is writing there; wait or choose another --out"
            ) from None
        if _is_still(handle, directory):
            return handle
        # Its previous owner moved or removed it between our open and our lock.
        os.close(handle)


def _is_still(handle: int, directory: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.stat(directory))
    return False


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _move(directory: Path, path: Path) -> None:
    replaced = path.with_name(path.name + ".replaced")
    if replaced.exists():
        shutil.rmtree(replaced)
    if path.exists():
        path.rename(replaced)
    directory.rename(path)
    _sync(path.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
