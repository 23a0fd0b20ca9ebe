from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar


class UserError(ValueError):
    """Something the user can put right: one line that names the value, the rule and the remedy.

    The command line prints it without a traceback and exits with `status`.
    """

    status: ClassVar[int] = 2


class UnreachableError(UserError):
    """A hub or bucket that does not answer, as far as one can tell: it may, the next time.

    So whoever runs the command again after a failure (`tpu/`, a JobSet) does it.
    """

    status = 1


class DivergedError(UserError):
    """Training whose loss is no longer finite: of several runs the others may do better."""


def kind_of(value: object) -> str:
    """What a message calls the kind of a value from a file; null as JSON, YAML and Parquet do."""
    return "null" if value is None else type(value).__name__


def nearest(name: str, choices: Sequence[str]) -> str:
    """`did you mean 'X'?` where a choice resembles `name`, else the list of choices."""
    close = get_close_matches(name, choices, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown, more = sorted(choices)[:20], len(choices) - 20
    return f"valid: {', '.join(shown)}{f' and {more} more' if more > 0 else ''}"
