"""The directory that a store is built in, beside the path that it gets when it is whole."""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxbert.data.store import METADATA
from jaxbert.disk import sync
from jaxbert.errors import UserError
from jaxbert.text.remote import check_is_here

log = logging.getLogger(__name__)

NOTES = "unfinished"
_JOURNAL = "journal.json"


@dataclass(frozen=True)
class Journal:
    """What is finished of an unfinished store: its shards, and the `state` to go on from.

    `key` says what the store is made of. All of it is plain values.
    """

    key: Mapping[str, Any]
    shards: Sequence[Mapping[str, Any]]
    state: Mapping[str, Any]


class PartialStore:
    """`PATH.partial`, locked: a context manager that removes it unless published, noted or whole.

    With the `key` that was noted, `journal` is what was; what a killed process left there without
    a note is removed. What is only needed to go on lies in `notes`. Finished shards of another key
    are a UserError, unless `overwrite`. The lock goes with the process, however it ends.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        key: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        self.directory = self.path.with_name(self.path.name + ".partial")
        if key is not None and is_unfinished(self.path, key) and not self.directory.exists():
            os.close(_lock_directory(self.path))
            self.path.rename(self.directory)
        check_destination(self.path, overwrite)
        self.notes = self.directory / NOTES
        self._key = key
        self._lock: int | None = _lock_directory(self.directory)
        try:
            self.journal = _read_journal(self.notes)
        except UserError:
            os.close(self._lock)
            raise
        try:
            if self.journal is None or self.journal.key != key:
                if not overwrite:
                    self._check_is_unwanted()
                self.journal = None
                _empty(self.directory)
            self.notes.mkdir(exist_ok=True)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "PartialStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def note(self, shards: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Put on disk that so much is finished; the directory stays from now on."""
        assert self._key is not None
        self.journal = Journal(self._key, shards, state)
        new = self.notes / f"{_JOURNAL}.new"
        new.write_text(json.dumps(asdict(self.journal)), encoding="utf-8")
        sync(new)
        new.rename(self.notes / _JOURNAL)
        sync(self.notes)

    def publish(self) -> None:
        """Move the directory to its path, in place of the store that may be there."""
        sync(self.directory)
        replaced = self.path.with_name(self.path.name + ".replaced")
        if replaced.exists():
            shutil.rmtree(replaced)
        try:
            if self.path.exists():
                self.path.rename(replaced)
            self.directory.rename(self.path)
        except OSError as error:
            raise UserError(
                f"{self.path}: the finished store cannot get this path ({error.strerror}); it is"
                f" whole in {self.directory}: give it a path with mv"
            ) from None
        sync(self.path.parent)
        if replaced.exists():
            shutil.rmtree(replaced)
        # Until here they say that there is nothing more to do, to whoever has to do this again.
        _remove_notes(self.path / NOTES)

    def close(self) -> None:
        """Remove what is neither noted nor whole, and let others have the path."""
        if self._lock is None:
            return
        is_kept = self.journal is not None or (self.directory / METADATA).is_file()
        if not is_kept and _is_still(self._lock, self.directory):
            shutil.rmtree(self.directory)
        os.close(self._lock)
        self._lock = None

    def _check_is_unwanted(self) -> None:
        if self.journal is None or not self.journal.shards:
            return
        old, new = self.journal.key, self._key or {}
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        raise UserError(
            f"{self.directory}: holds an unfinished store with other {', '.join(names)}; go on with"
            " the command that began it, or add --overwrite to begin anew"
        )


def is_unfinished(path: Path, key: Mapping[str, Any] | None = None) -> bool:
    """Whether what lies at `path` holds notes still, of `key` where it is given."""
    journal = _read_journal(path / NOTES)
    return journal is not None and (key is None or journal.key == key)


def check_destination(path: Path, overwrite: bool) -> None:
    """Raise a UserError unless a store may be written to `path`.

    `overwrite` allows to replace a store, never a directory that holds something else.
    """
    check_is_here(path)
    if path.is_mount():
        raise UserError(
            f"{path}: a mount point, whose place no other directory can take; choose an --out in"
            f" it, such as {path / 'store'}"
        )
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / METADATA).is_file():
        raise UserError(f"{path}: exists and is not a token store; choose another --out")
    if not overwrite:
        raise UserError(
            f"{path}: a store is there already; add --overwrite or choose another --out"
        )


def _remove_notes(notes: Path) -> None:
    for entry in notes.iterdir():
        # Last, so that what is left by a kill is known.
        if entry.name != _JOURNAL:
            entry.unlink()
    shutil.rmtree(notes)


def _read_journal(notes: Path) -> Journal | None:
    file = notes / _JOURNAL
    if not file.is_file():
        return None
    try:
        return Journal(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(
            f"{file}: does not say what is finished of an unfinished store: remove the directory "
            f"{notes.parent}, and prepare from the start"
        ) from None


def _lock_directory(directory: Path) -> int:
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
        except OSError:
            log.warning("%s: its file system has no locks: prepare there only once", directory)
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
