"""A trace of chosen steps, for TensorBoard's profiler or xprof."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

NO_STEPS = range(0)


@dataclass
class Profile:
    """Traces the steps in `steps` (after how many each begins) into `directory`/profile."""

    steps: range
    directory: Path
    _is_tracing: bool = False

    def before(self, step: int) -> None:
        """A step is about to begin."""
        if step in self.steps and not self._is_tracing:
            jax.profiler.start_trace(self.directory / "profile")
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
