"""A trace of chosen steps, for TensorBoard's profiler or xprof."""

import os
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

from jaxbert.errors import UserError
from jaxbert.parallel.processes import of_all

NO_STEPS = range(0)


def check_tracing() -> None:
    """Raises UserError where JAX's profiler would end the process with a segmentation fault.

    That is where libtpu has been loaded (`jaxbert plan` needs it) and has found no TPU.
    """
    platform = jax.default_backend()
    if platform != "tpu" and find_spec("libtpu") is not None and "JAX_PLATFORMS" not in os.environ:
        name = "cuda,cpu" if platform == "gpu" else platform
        raise UserError(
            "--profile: libtpu is installed here and there is no TPU, which JAX's profiler does "
            f"not survive: set the environment variable JAX_PLATFORMS={name}"
        )


def trace_directory(run: Path) -> Path:
    """RUN/profile, and where several processes of a machine trace a folder in it for each.

    A trace is called after the machine and the second. It is a meeting of all processes.
    """
    machines, process = of_all(socket.gethostname()), jax.process_index()
    is_alone = machines.count(machines[process]) == 1
    return run / "profile" / ("" if is_alone else f"process_{process}")


@dataclass
class Profile:
    """Traces the steps in `steps` (after how many each begins) into `directory`."""

    steps: range
    directory: Path
    _is_tracing: bool = False

    def missed(self, first_step: int, num_steps: int) -> list[str]:
        """What to tell the one who asked where none of the steps ahead is traced."""
        asked, ahead = self.steps, range(first_step, num_steps)
        if not asked or range(max(asked.start, ahead.start), min(asked.stop, ahead.stop)):
            return []
        return [
            f"profile: nothing is traced: steps {asked.start}:{asked.stop} are not among those "
            f"ahead, {ahead.start}:{ahead.stop}"
        ]

    def before(self, step: int) -> None:
        """A step is about to begin."""
        if step in self.steps and not self._is_tracing:
            jax.profiler.start_trace(self.directory)
            self._is_tracing = True

    def after(self, step: int, metrics: Any) -> None:
        """A step is dispatched; `metrics` are there when it is done."""
        if self._is_tracing and step not in self.steps:
            jax.block_until_ready(metrics)
            self.close()

    def close(self) -> None:
        """Writes what was traced until now."""
        if self._is_tracing:
            jax.profiler.stop_trace()
            self._is_tracing = False
