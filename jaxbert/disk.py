"""Files that are whole on disk, or not there, also where a machine loses power."""

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Writes a file, or puts a new one in the place of another, which stays until then.

    Without `sync` a loss of power could leave an empty file of the right name.
    """
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.replace(file)


def sync(path: Path) -> None:
    """Returns when a file or the entries of a directory are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
