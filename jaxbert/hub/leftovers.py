"""What a killed writer of a model directory has left beside it: two hidden copies at most."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEW, OLD = "new", "old"
"""What a writer's folder holds: the model that is written, and the one whose place it takes."""


@contextmanager
def claimed(scratch: Path) -> Iterator[None]:
    """Marks a writer's folder as in use; the kernel drops the mark with the process."""
    handle = os.open(scratch, os.O_RDONLY)
    try:
        # Where a file system has no locks, nobody else can get one either, and all is left alone.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def clear_leftovers(directory: Path) -> None:
    """Removes folders whose writer was killed; an old model that was on its way out goes back."""
    ours = re.compile(re.escape(f".{directory.name}.") + "[a-z0-9_]{8}")
    siblings = directory.parent.iterdir() if directory.parent.is_dir() else []
    found = {path: _time(path) for path in siblings if ours.fullmatch(path.name)}
    # The newest first: what an earlier one has replaced is older than what is missing now.
    for folder in sorted(found, key=found.__getitem__, reverse=True):
        with suppress(OSError):
            _clear(folder, directory)


def _time(path: Path) -> float:
    """When it was changed; its writer may be done and remove it at any moment."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _clear(folder: Path, directory: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        names = {path.name for path in folder.iterdir()}
        # An empty one may be of a writer that has not claimed it yet.
        if names and names <= {NEW, OLD}:
            if OLD in names and not directory.exists():
                (folder / OLD).rename(directory)
            shutil.rmtree(folder)
    finally:
        os.close(handle)
