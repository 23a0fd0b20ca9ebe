"""A thread that ends this process when another one of the run has ended or fallen silent."""

import json
import os
import sys
import threading
import time
from typing import Any

from jaxbert.cli.last_words import LastWords

_ENDED, _ALIVE = "jaxbert/ended", "jaxbert/alive"
_GRACE, _LINGER = 2.0, 4.0
_CONTINUES = "the same command continues from the last checkpoint"
_LONGEST_EXPORT = 24 * 3600


class Watch:
    """Tells the others that this process is alive, and hears from them when one has ended.

    Through the key-value store of JAX's coordination service, which process 0 runs. JAX's own
    heartbeat finds the same later, and aborts with a stack trace; so it does, at once, where
    process 0 is gone, and then the last words of this process are all that it says itself.
    """

    def __init__(self, verb: str, timeout: float):
        import jax
        from jax._src import distributed

        self._client: Any = distributed.global_state.client
        self._verb, self._timeout = verb, timeout
        self._process, self._count = jax.process_index(), jax.process_count()
        self._stopped = threading.Event()
        self._seen: dict[str, tuple[str, float]] = {}
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        ended = f"process {self._process} was killed or crashed"
        other = "" if self._process == 0 else ", or process 0 was, which ends all"
        self._last_words = LastWords(f"jaxbert {self._verb}: {ended}{other}; {_CONTINUES}")
        self._thread.start()

    def dismiss(self) -> None:
        """The processes have parted."""
        self._last_words.dismiss()

    def ignore(self) -> None:
        """What the others do no longer matters."""
        self._stopped.set()

    def finish(self) -> None:
        """Waits until every process has come here, and ends the watch."""
        # The first process still writes the model while the others have nothing left to do.
        self._client.wait_at_barrier("jaxbert/finished", 1000 * _LONGEST_EXPORT)
        self._stopped.set()
        # Python may not end while a thread is in the client, and this wakes the threads of all.
        self._publish(None, 0)
        self._thread.join()

    def end_all(self, reason: str, status: int) -> None:
        """Ends all processes; this one has said why already."""
        self._publish(f"process {self._process} ended: {reason}", status)
        self._leave(status)

    def _run(self) -> None:
        from jax.errors import JaxRuntimeError

        period, beats = max(0.5, self._timeout / 10), 0
        while not self._stopped.is_set():
            try:
                beats += 1
                self._client.key_value_set(f"{_ALIVE}/{self._process}", str(beats), True)
                if self._process == 0:
                    self._look_for_silent()
                # Returns at once when the key is set.
                self._hear(self._client.blocking_key_value_get(_ENDED, int(1000 * period)))
            except JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error) and not self._stopped.is_set():
                    self._end("process 0, the coordinator, is gone", 1)

    def _look_for_silent(self) -> None:
        now = time.monotonic()
        for key, beats in self._client.key_value_dir_get(_ALIVE):
            process = key.rpartition("/")[2]
            if self._seen.get(process, ("", 0.0))[0] != beats:
                self._seen[process] = (beats, now)
            elif now - self._seen[process][1] > self._timeout:
                reason = f"process {process} has been silent for {self._timeout:.0f} s"
                self._publish(reason, 1)

    def _publish(self, reason: str | None, status: int) -> None:
        text = json.dumps({"reason": reason, "status": status})
        self._client.key_value_set(_ENDED, text, True)

    def _hear(self, text: str) -> None:
        ended = json.loads(text)
        if ended["reason"] is None:
            self._stopped.wait()
            return
        # What the user can put right is mostly found by all, each of which says so itself.
        if not self._stopped.wait(_GRACE):
            self._end(ended["reason"], ended["status"])

    def _end(self, reason: str, status: int) -> None:
        hint = "" if status == 2 else f"; {_CONTINUES}"
        text = f"jaxbert {self._verb}: {reason}: this process ends too{hint}"
        print(text, file=sys.stderr, flush=True)
        self._leave(status)

    def _leave(self, status: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._last_words.dismiss()
        if self._process == 0:
            # The service goes with this process: first the others have to hear of it.
            time.sleep(_LINGER)
        os._exit(status)
