"""Preemption: SIGTERM, or the first Ctrl-C, asks the loop to save and end."""

import os
import signal
import threading
from types import FrameType

EXIT_PREEMPTED = 75
"""Exit status after a save on a signal (EX_TEMPFAIL: the same command again continues)."""


class Preemption:
    """Remembers the signal from the moment it is installed; polled between steps."""

    def __init__(self) -> None:
        self._requested = threading.Event()

    def install(self) -> None:
        """Catches SIGTERM and the first SIGINT from now on (main thread only)."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested.is_set()

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        self._requested.set()
        # Who presses Ctrl-C again does not want to wait for the save.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # No print: the signal may have come in the middle of one.
        os.write(2, b"\njaxbert: saving a checkpoint, then ending; Ctrl-C ends without saving\n")
