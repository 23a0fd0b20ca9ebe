"""One process at a time may train in a run directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxbert.errors import UserError


@contextmanager
def sole_trainer(directory: Path) -> Iterator[None]:
    """Holds the directory for this process; UserError where another trains in it now.

    The kernel drops the lock with the process, however it ends.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{directory}: another process is training in this run: wait for it, or give another "
            "--run directory"
        ) from None
