"""The figures of a run, as `all_results.json` has them."""

import math
from collections.abc import Iterable

import numpy as np

from jaxbert.experiment.run_files import RunDirectory
from jaxbert.text.vocabulary import read_object
from jaxbert.training.log import MetricLog
from jaxbert.training.metrics_file import Row


def results_of(log: MetricLog, step: int, seconds: float) -> dict[str, float]:
    """Of a run that ended at `step` after so many seconds, with what was evaluated there."""
    results: dict[str, float] = {"step": step, "train_runtime": seconds}
    losses = [loss for loss in log.series("loss").values() if math.isfinite(loss)]
    if losses:
        results["train_loss"] = float(np.mean(losses[-100:]))
    return results | evaluated(log.rows, step)


def evaluated(rows: Iterable[Row], step: int) -> dict[str, float]:
    """What was evaluated after `step` steps, of the rows of a run's log."""
    return {
        name.replace("/", "_", 1): value
        for row in rows
        if row["step"] == step
        for name, value in row.items()
        if name.startswith("eval/")
    }


def first_runtime(run: RunDirectory) -> dict[str, float]:
    """The time that a run which was over already had taken: the same command again takes none."""
    known = read_object(run.results)
    return {name: known[name] for name in ("train_runtime",) if name in known}
