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


def kind_of(value: object) -> str:
    """What a message calls the kind of a value from a file; null as JSON, YAML and Parquet do."""
    return "null" if value is None else type(value).__name__
