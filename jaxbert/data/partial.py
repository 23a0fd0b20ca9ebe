"""The directory that a store is built in, beside the path that it gets when it is whole."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from jaxbert.data.store import METADATA
from jaxbert.errors import UserError


class PartialStore:
    """`PATH.partial`, locked: a context manager that leaves nothing behind unless published.

    What a killed process left there is removed. The lock goes with the process, however it ends.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False):
        self.path = Path(path)
        self.directory = self.path.with_name(self.path.name + ".partial")
        check_destination(self.path, overwrite)
        self._lock: int | None = _lock_directory(self.directory)
        try:
            _empty(self.directory)
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

    def publish(self) -> None:
        """Move the directory to its path, in place of the store that may be there."""
        sync(self.directory)
        replaced = self.path.with_name(self.path.name + ".replaced")
        if replaced.exists():
            shutil.rmtree(replaced)
        if self.path.exists():
            self.path.rename(replaced)
        self.directory.rename(self.path)
        sync(self.path.parent)
        if replaced.exists():
            shutil.rmtree(replaced)

    def close(self) -> None:
        """Remove what was not published and let others have the path."""
        if self._lock is None:
            return
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


def sync(path: Path) -> None:
    """Return when a file or the entries of a directory are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
