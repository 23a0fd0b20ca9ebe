"""The figures of a run, as `all_results.json` has them."""

import math

import numpy as np

from jaxbert.experiment.run_directory import RunDirectory
from jaxbert.training.log import MetricLog, from_json


def results_of(log: MetricLog, step: int, seconds: float) -> dict[str, float]:
    """Of a run that ended at `step` after so many seconds, with what was evaluated there."""
    results: dict[str, float] = {"step": step, "train_runtime": seconds}
    losses = [loss for loss in log.series("loss").values() if math.isfinite(loss)]
    if losses:
        results["train_loss"] = float(np.mean(losses[-100:]))
    for row in log.rows:
        if row["step"] == step:
            results |= {
                name.replace("/", "_", 1): value
                for name, value in row.items()
                if name.startswith("eval/")
            }
    return results


def first_runtime(run: RunDirectory) -> dict[str, float]:
    """The time that a run which was over already had taken: the same command again takes none."""
    if not run.results.is_file():
        return {}
    return {"train_runtime": from_json(run.results.read_text(encoding="utf-8"))["train_runtime"]}
