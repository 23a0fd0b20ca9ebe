"""One process at a time may train in a run directory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxbert.errors import UserError


@contextmanager
def sole_trainer(directory: Path) -> Iterator[None]:
    """Holds the directory for this process; UserError where another trains in it now.

    The kernel drops the lock with the process, however it ends.
    """
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{directory}: another process is training in this run: wait for it, or give "
                "another --run directory"
            ) from None
        yield
