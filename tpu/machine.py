"""The TPU VMs that run.py uses, through the scripts beside it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from outcome import EXIT_MISTAKE

HERE = Path(__file__).parent
DEADLINE = float(os.environ.get("JAXBERT_TPU_DEADLINE", "180"))
"""Seconds for an answer, of up to 64 VMs at once; gcloud alone tries for ten minutes."""

ENDING = ("SUSPENDING", "DELETING", "STOPPING")
"""States that pass into one of those below, or ABSENT; nothing can be deleted meanwhile."""

OVER = (*ENDING, "PREEMPTED", "TERMINATED", "SUSPENDED", "FAILED", "STOPPED")
"""States that lead nowhere: what is left is deleted, and the VMs are asked for anew."""

STATUS = (
    "if [ -e jaxbert/tpu/worker.py ]; then python3 jaxbert/tpu/worker.py status; "
    'else echo "jaxbert-worker $(hostname) absent"; fi'
)


@dataclass(frozen=True)
class Machine:
    """Where the VMs are, and how they are asked for."""

    name: str
    place: tuple[str, ...]
    creation: tuple[str, ...]

    def create(self) -> int:
        """Asks for the VMs; the exit status, as of all that follow."""
        return self._run("create.sh", *self.creation)

    def wait(self, timeout: int) -> int:
        """Waits until they are there: 0; 3 when they cannot come; 4 when the time is over."""
        return self._run("wait.sh", "--timeout", str(timeout))

    def setup(self, revision: str) -> int:
        """Brings code and packages to every worker."""
        return self._run("setup.sh", "--revision", revision)

    def mount(self, pairs: Iterable[str]) -> int:
        """Mounts buckets on every worker; 2 for a mistake."""
        words = ["python3", "jaxbert/tpu/worker.py", "mount", *pairs]
        return self._run("ssh.sh", "--", shlex.join(words))

    def delete(self) -> int:
        """Deletes the VMs and their request."""
        return self._run("delete.sh", "--yes")

    def state(self, *, is_quiet: bool = False) -> str:
        """What state.sh prints; a mistake in the call, of which it tells, ends the program."""
        done = self._call("state.sh", is_quiet=is_quiet)
        if done.returncode == EXIT_MISTAKE:
            sys.exit(EXIT_MISTAKE)
        return done.stdout.strip() or "UNKNOWN"

    def on_every_worker(self, command: str) -> tuple[int, str]:
        """Exit status and output of a line of shell."""
        done = self._call("ssh.sh", "--", command)
        return done.returncode, done.stdout

    def statuses(self) -> dict[str, str]:
        """What every worker says of its command, by host name; empty where ssh failed."""
        code, output = self.on_every_worker(STATUS)
        found = re.findall(r"^jaxbert-worker (\S+) (.+)$", output, re.MULTILINE)
        return {} if code else dict(found)

    def command(self, script: str, *words: str) -> str:
        """The command line with which a person does the same."""
        return " ".join([f"tpu/{script}", self.name, *self.place, *words])

    def _run(self, script: str, *words: str) -> int:
        return subprocess.run(self._words(script, *words)).returncode

    def _call(
        self, script: str, *words: str, is_quiet: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """A short question; status 124 where there is no answer in time."""
        command = self._words(script, *words)
        # A group of its own, so that what gcloud has started ends with it.
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if is_quiet else None,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                output, _ = process.communicate(timeout=DEADLINE)
                return subprocess.CompletedProcess(command, process.returncode, output)
            except subprocess.TimeoutExpired:
                if not is_quiet:
                    print(f"{script}: no answer within {DEADLINE:g} s", file=sys.stderr)
                return subprocess.CompletedProcess(command, 124, "")
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _words(self, script: str, *words: str) -> list[str]:
        # Flags of ours before those of gcloud, which create.sh takes after a lone --.
        return [str(HERE / script), self.name, *self.place, *words]
