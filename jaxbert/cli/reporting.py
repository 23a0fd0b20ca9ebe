"""What the terminal gets to see of mistakes and warnings, of a command or of a script."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxbert.errors import UserError

_ANOTHER_PLACE = "name another place, or change what may be done there"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, and give the same command again"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR), _ANOTHER_PLACE),
}
"""What to do about errors of the machine that no code is at fault for."""
_SCRIPT_REMEDIES = {
    **_REMEDIES,
    **dict.fromkeys((errno.ENOENT, errno.EISDIR), "name a file that is there"),
}
"""A script opens what its user names without looking first; in jaxbert that would be a fault."""


def run_script(main: Callable[[], None]) -> None:
    """Runs a script's `main` as commands run: the user's mistakes are one line, and status 2."""

    def run() -> int:
        main()
        return 0

    # A script imports all before it calls anything, and a library has set up logging by then.
    show_warnings(force=True)
    sys.exit(status_of(run, Path(sys.argv[0]).name, remedies=_SCRIPT_REMEDIES))


def status_of(
    run: Callable[[], int],
    name: str,
    place: str | None = None,
    *,
    remedies: Mapping[int, str] = _REMEDIES,
) -> int:
    """The exit status of `run`: its own, or an error's after a line about what can be put right.

    `place` is where it writes, for errors of the machine that do not say.
    """
    try:
        return run()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; nothing more may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if (remedy := remedies.get(error.errno or 0)) is None:
            raise
        # Writing to a file that is open already does not say which.
        where = error.filename or place or "writing"
        print(f"{name}: {where}: {error.strerror}: {remedy}", file=sys.stderr)
        return 2
    except MemoryError as error:
        reason = str(error) or "out of memory"
        print(f"{name}: {reason}: ask for less, or use a machine with more memory", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def show_warnings(*, force: bool = False) -> None:
    """Prints warnings, except of libraries that print their own.

    Nor errors that Orbax raises after it has logged them, in several threads with their traces.
    Where logging is set up already nothing is changed, but with `force`.
    """
    handler = logging.StreamHandler()
    handler.addFilter(
        lambda record: record.name.split(".")[0] not in ("huggingface_hub", "datasets")
    )
    handler.addFilter(lambda record: record.name != "absl" or not record.exc_info)
    logging.basicConfig(format="jaxbert: %(message)s", handlers=[handler], force=force)
