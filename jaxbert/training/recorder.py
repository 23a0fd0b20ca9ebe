"""What becomes of a step's metrics: checked, logged, shown."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.errors import DivergedError
from jaxbert.parallel.processes import Total
from jaxbert.tasks.task import real_tokens
from jaxbert.training.flops import peak_flops
from jaxbert.training.ledger import Ledger
from jaxbert.training.log import MetricLog
from jaxbert.training.metrics_file import Row
from jaxbert.training.progress import TrainingProgress
from jaxbert.training.step import Metrics
from jaxbert.typing import HostBatch


class Recorder:
    """Takes the metrics of every step, one step late, so that the device never waits for it.

    In every process: what it logs is of the rows of all. Of the time that steps take, `data_share`
    is spent waiting for batches and `dispatch_share` handing steps to an accelerator (0 on a CPU,
    which works on them meanwhile); where both are small the device sets the pace. `flops` counts
    those that a batch needs, for the utilisation; `copies`: in how many processes each row is.
    `is_late` False: a step is done when it is handed over, and so are its metrics. A step late, the
    time of the last one would be counted to the row before.
    """

    def __init__(
        self,
        log: MetricLog,
        progress: TrainingProgress,
        ledger: Ledger,
        flops: Callable[[HostBatch, float], float],
        *,
        log_every: int,
        num_steps: int,
        stop_on_nonfinite: bool,
        directory: Path,
        copies: int = 1,
        is_late: bool = True,
    ):
        self._log, self._progress, self._flops_of = log, progress, flops
        self._ledger = ledger
        self._log_every, self._num_steps = log_every, num_steps
        self._stop_on_nonfinite, self._directory = stop_on_nonfinite, directory
        self._copies, self._is_late = copies, is_late
        peak = peak_flops(jax.devices()[0].device_kind)
        self._peak = None if peak is None else peak * jax.device_count()
        self._total = Total()
        self._pending: tuple[int, Metrics, HostBatch] | None = None
        self._is_finite, self._is_compiled = True, False
        self.start_clock()

    def start_clock(self) -> None:
        """Throughput is measured from here (also after evaluation, which is not training)."""
        self._since = time.perf_counter()
        self._spent = dict(self._ledger.seconds)
        # Real tokens, positions and FLOPs.
        self._counted = np.zeros(3)

    def add(self, step: int, metrics: Metrics, batch: HostBatch, flops_share: float = 1.0) -> None:
        """Step `step` is dispatched: records the one before, or that. `batch`: this process's rows.

        `flops_share`: what is computed of the FLOPs that training everything would need.
        """
        self.flush()
        is_real = real_tokens(batch)
        self._counted += [is_real.sum(), is_real.size, self._flops_of(batch, flops_share)]
        if self._is_logged(step):
            self._totals = self._total(self._counted / self._copies)
        self._pending = (step, metrics, batch)
        self._progress.advance(step)
        if not self._is_late:
            self.flush()

    def compiling(self) -> None:
        """The next step is one of another program: its time is mostly compilation."""
        self.flush()
        self._is_compiled = False

    def flush(self) -> None:
        """Records the step that is pending; raises DivergedError on a loss that is not finite."""
        if self._pending is None:
            return
        step, device_metrics, batch = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(device_metrics).items()}
        row: Row = {"step": step, "loss": values["loss"]} | values
        is_finite = bool(np.isfinite(row["loss"]) and np.isfinite(row["grad_norm"]))
        if self._is_finite and not is_finite:
            self._nonfinite(row, batch)
        self._is_finite = is_finite
        if self._is_logged(step):
            row |= self._throughput()
            self._log.write(row)
            self._progress.show(row)
            self._ledger.note(step)
            self.start_clock()
        elif not self._is_compiled:
            self.start_clock()
        self._is_compiled = True

    def evaluating(self, step: int) -> None:
        """Tells the one who waits what for."""
        self._progress.evaluating(step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs and shows an evaluation."""
        self._log.write({"step": step} | {f"eval/{name}": v for name, v in metrics.items()})
        # Figures by class, such as f1/person, are many: they are in the log.
        whole = {name: value for name, value in metrics.items() if "/" not in name}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in whole.items())
        self._progress.say(f"step {step}  evaluation: {shown}")
        self.start_clock()

    def _is_logged(self, step: int) -> bool:
        return step % self._log_every == 0 or step == self._num_steps

    def _throughput(self) -> Row:
        tokens, positions, flops = np.asarray(self._totals, np.float64).tolist()
        row: Row = {"padding": 1 - tokens / positions}
        if not self._is_compiled:
            # The first step of a program is mostly compilation.
            return row
        seconds = max(time.perf_counter() - self._since, 1e-9)
        row["tokens_per_second"] = tokens / seconds
        for name in ("data", "dispatch"):
            row[f"{name}_share"] = (self._ledger.seconds[name] - self._spent[name]) / seconds
        if self._peak is not None:
            row["model_flops_utilization"] = flops / seconds / self._peak
        return row

    def _nonfinite(self, row: Row, batch: HostBatch) -> None:
        """The first of a series of such steps: the others would fill the disk with batches."""
        alone = jax.process_count() == 1
        rows = "" if alone else f"_rows_of_process_{jax.process_index()}"
        path = self._directory / f"nonfinite_step_{row['step']}{rows}.npz"
        arrays: dict[str, Any] = dict(batch)
        np.savez(path, **arrays)
        found = f"loss {row['loss']}, gradient norm {row['grad_norm']} at step {row['step']}"
        if self._stop_on_nonfinite:
            raise DivergedError(
                f"{found}: the run stops, its last checkpoint is intact, and the batch is in "
                f"{path}; go on with step.nonfinite=skip, or begin another run with a lower "
                "learning rate"
            )
        self._progress.say(
            f"{found}: updates are left out until they are finite again; the batch is in {path}"
        )
