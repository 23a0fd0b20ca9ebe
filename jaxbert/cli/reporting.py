"""What the terminal gets to see of mistakes and warnings, of a command or of a script."""

import errno
import logging
import os
import re
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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
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
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; nothing more may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        found = line_of(error, place, remedies=remedies)
        if found is None:
            raise
        print(f"{name}: {printable(found[0])}", file=sys.stderr)
        return found[1]


def line_of(
    error: BaseException, place: str | None = None, *, remedies: Mapping[int, str] = _REMEDIES
) -> tuple[str, int] | None:
    """What to say of an error, and the exit status; None where it is a fault of the code."""
    match error:
        case UserError():
            return str(error), error.status
        case KeyboardInterrupt():
            return "interrupted", 130
        case MemoryError():
            reason = str(error) or "out of memory"
            return f"{reason}: ask for less, or use a machine with more memory", 1
        case RecursionError() if "JSON" in str(error):
            return "a file of JSON is nested too deep to be read: fetch it again", 2
        case OSError() if (remedy := remedies.get(error.errno or 0)) is not None:
            # Writing to a file that is open already does not say which.
            return f"{error.filename or place or 'writing'}: {error.strerror}: {remedy}", 2
    return None


def printable(text: str) -> str:
    """Without control characters, by which a stranger's file could command the terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


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
