"""One command at a time may train in a run directory."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxbert.errors import UserError
from jaxbert.parallel.processes import in_first

LOCK = ".lock"
log = logging.getLogger(__name__)


@contextmanager
def sole_trainer(directory: Path, run: str | None = None) -> Iterator[None]:
    """Holds the directory for this command; UserError where another trains in it now.

    `run`: what it is called in the message; None: as it is.
    Of several processes the first one holds it. The kernel drops the lock with the process,
    however it ends.
    """
    # A file, opened to be written: NFS tells no other machine of the lock of a directory.
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        in_first(lambda: _lock(handle, run or str(directory)))
        yield
    finally:
        os.close(handle)


def _lock(handle: int, run: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{run}: another process is training in this run: wait for it, or give another "
            "--run directory"
        ) from None
    except OSError:
        # A file system without locks, such as Lustre where it is mounted so: nobody can have one.
        log.warning("%s: its file system has no locks: train in it with one command only", run)
