"""Checkpoints of a run: the state with what is needed to continue it, through Orbax."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orbax.checkpoint as ocp
from annotated_types import Ge
from orbax.checkpoint import checkpoint_managers as preservation

STATE, RUN = "state", "run"


@dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints stay."""

    keep_last: Annotated[int, Ge(1)] = 2
    keep_best: Annotated[int, Ge(0)] = 1
    """How many with the best `metric` stay besides; needs `metric`."""
    metric: str | None = None
    """Evaluation metric that says which is best, e.g. `accuracy`; null: the last is the best."""
    mode: Literal["max", "min"] = "max"


class Checkpoints:
    """Saved asynchronously; a checkpoint counts only once it is whole (Orbax renames it last)."""

    def __init__(self, directory: Path, config: CheckpointConfig):
        metric = config.metric
        options = ocp.CheckpointManagerOptions(
            # Orbax writes metrics to disk only where it is told how to rank them.
            best_fn=None if metric is None else lambda metrics: metrics[metric],
            best_mode=config.mode,
            preservation_policy=_preservation(config),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def latest_step(self) -> int | None:
        """The newest whole checkpoint, None if there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The checkpoint with the best metric among those kept; the newest without a metric."""
        return self._manager.best_step() or self.latest_step()

    def save(
        self,
        step: int,
        state: Any,
        run: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Starts saving; returns once the state is copied off the devices.

        `run` is JSON: the resolved configuration and the position in the data.
        """
        if step == self.latest_step():
            if metrics is None:
                return
            # Saved on SIGTERM in the middle of its evaluation: now it gets its metrics.
            self._manager.delete(step)
        items = ocp.args.Composite(
            **{STATE: ocp.args.StandardSave(state), RUN: ocp.args.JsonSave(dict(run))}
        )
        self._manager.save(step, args=items, metrics=None if metrics is None else dict(metrics))

    def restore(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """State and run of a checkpoint, placed as the abstract `target` says."""
        items = ocp.args.Composite(
            **{STATE: ocp.args.StandardRestore(target), RUN: ocp.args.JsonRestore()}
        )
        restored = self._manager.restore(step, args=items)
        return restored[STATE], restored[RUN]

    def close(self) -> None:
        """Waits until every save is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _preservation(config: CheckpointConfig) -> preservation.PreservationPolicy:
    policies: list[Any] = [preservation.LatestN(config.keep_last)]
    metric = config.metric
    if metric is not None and config.keep_best:
        policies.append(
            preservation.BestN(
                get_metric_fn=lambda metrics: metrics[metric],
                reverse=config.mode == "min",
                n=config.keep_best,
                keep_checkpoints_without_metrics=False,
            )
        )
    return preservation.AnyPreservationPolicy(policies)
