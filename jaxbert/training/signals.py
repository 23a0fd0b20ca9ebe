"""Preemption: SIGTERM asks the loop to save and end."""

import signal
import threading
from types import FrameType

EXIT_PREEMPTED = 75
"""Exit status after a save on SIGTERM (EX_TEMPFAIL: the same command again continues)."""


class Preemption:
    """Remembers SIGTERM from the moment it is installed; polled between steps."""

    def __init__(self) -> None:
        self._requested = threading.Event()

    def install(self) -> None:
        """Catches SIGTERM from now on (main thread only)."""
        signal.signal(signal.SIGTERM, self._handle)

    def requested(self) -> bool:
        """Whether SIGTERM has come."""
        return self._requested.is_set()

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        self._requested.set()
