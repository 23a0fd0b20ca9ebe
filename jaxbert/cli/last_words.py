"""What is said of a process that ends before it can say anything."""

import subprocess


class LastWords:
    """A line on standard error, should this process be killed or abort, until it is `dismiss`ed.

    A shell waits for the end of a pipe that only this process holds: the C++ of JAX ends processes
    by `abort`, after which no Python runs.
    """

    def __init__(self, line: str):
        self._shell = subprocess.Popen(
            ["sh", "-c", 'read -r _ || printf "%s\\n" "$0" >&2', line],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # What ends this process from a terminal may not end the shell first.
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The process says itself how it ends."""
        if self._shell.returncode is None:
            self._shell.communicate(b"\n")
