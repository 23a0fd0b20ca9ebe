"""From settings, parameters and data to a trained model in a run directory."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.config import to_values
from jaxbert.data.loader import iterate
from jaxbert.errors import UserError
from jaxbert.experiment.run_directory import RunDirectory
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import Apply, make_apply
from jaxbert.optim.groups import group_labels
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import make_schedule
from jaxbert.parallel.mesh import make_mesh
from jaxbert.parallel.rules import row_shards
from jaxbert.tasks.task import Task
from jaxbert.training.evaluation import evaluate
from jaxbert.training.log import MetricLog
from jaxbert.training.loop import Loop, LoopConfig, Outcome, train
from jaxbert.training.progress import TrainingProgress
from jaxbert.training.recorder import Recorder
from jaxbert.training.state import TrainState, abstract_state, new_state
from jaxbert.training.step import (
    jit_evaluation_step,
    jit_train_step,
    make_evaluation_step,
    make_train_step,
)
from jaxbert.typing import HostBatch, Params


@dataclass(frozen=True)
class Data:
    """What a run trains and is evaluated on; batches are pure functions of the step."""

    train_batch: Callable[[int], HostBatch]
    steps_per_epoch: int
    evaluation_batches: Callable[[], Iterable[HostBatch]] | None
    fingerprint: str
    """Changes when the data changes: a run never continues on other data."""


@dataclass(frozen=True)
class Fitted:
    """A run that has ended."""

    params: Params
    """Of the best checkpoint where a metric says which that is, else the last; host arrays."""
    outcome: Outcome
    step: int
    """The step of `params`."""
    results: dict[str, float]
    """Figures of the run, named as transformers names them."""


def fit(
    run: RunDirectory,
    settings: TrainingSettings,
    encoder: EncoderConfig,
    task: Task,
    make_params: Callable[[], Params],
    data: Data,
    num_steps: int,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> Fitted:
    """Trains, or continues where the last whole checkpoint of `run` stands."""
    mesh = make_mesh(settings.mesh)
    _check_batch_size(settings, mesh)
    _check_metric(settings, data)
    apply = make_apply(encoder, task.head, settings.compute_dtype())
    started = time.perf_counter()
    checkpoints = Checkpoints(run.checkpoints, settings.checkpoint)
    state, step = _prepare(settings, apply, task, make_params(), num_steps, mesh)
    facts = {"config": to_values(settings), "data": {"fingerprint": data.fingerprint}}
    target = abstract_state(state)
    if (latest := checkpoints.latest_step()) is not None:
        state = _restore(checkpoints, latest, target, data, run)
    log = MetricLog(run.path, int(state.step))
    with TrainingProgress(num_steps, int(state.step), quiet=quiet) as progress:
        recorder = Recorder(
            log,
            progress,
            encoder,
            log_every=settings.loop.log_every,
            num_steps=num_steps,
            stop_on_nonfinite=settings.step.nonfinite == "stop",
            directory=run.path,
        )
        loop = Loop(
            config=_in_steps(settings.loop, data),
            num_steps=num_steps,
            accumulation_steps=settings.step.accumulation_steps,
            step=step,
            batches=lambda start, stop: iterate(data.train_batch, start, stop),
            evaluate=_evaluator(apply, task, state.params, data, mesh, interrupted),
            checkpoints=checkpoints,
            run=facts,
            log=log,
            recorder=recorder,
            mesh=mesh,
            interrupted=interrupted,
            early_stopping_metric=_tracked(settings),
        )
        try:
            state, outcome = train(loop, state)
        finally:
            checkpoints.close()
            log.close()
    best = checkpoints.best_step()
    if outcome != "preempted" and best is not None and best != int(state.step):
        state = _restore(checkpoints, best, target, data, run)
    results = _results(log, int(state.step), time.perf_counter() - started)
    return Fitted(jax.device_get(state.params), outcome, int(state.step), results)


def _prepare(
    settings: TrainingSettings,
    apply: Apply,
    task: Task,
    params: Params,
    num_steps: int,
    mesh: Mesh,
) -> tuple[TrainState, Any]:
    schedule = make_schedule(settings.schedule, settings.optimizer.learning_rate, num_steps)
    optimizer = make_optimizer(settings.optimizer, schedule, params)
    labels = group_labels(params, settings.optimizer.freeze)
    state = new_state(params, optimizer, mesh)
    step = make_train_step(apply, task, optimizer, schedule, labels, settings.step, settings.seed)
    return state, jit_train_step(step, state, mesh)


def _evaluator(
    apply: Apply,
    task: Task,
    params: Params,
    data: Data,
    mesh: Mesh,
    interrupted: Callable[[], bool],
) -> Callable[[Params], dict[str, float] | None] | None:
    if data.evaluation_batches is None:
        return None
    batches: Callable[[], Iterable[HostBatch]] = data.evaluation_batches
    step = jit_evaluation_step(make_evaluation_step(apply, task), params, mesh)

    def run_evaluation(params: Params) -> dict[str, float] | None:
        metrics, _ = evaluate(step, params, _until(batches(), interrupted), task, mesh)
        return None if interrupted() else metrics

    return run_evaluation


def _until(batches: Iterable[HostBatch], interrupted: Callable[[], bool]) -> Iterator[HostBatch]:
    """The batches up to an interruption; at least one, so that there is something to divide."""
    for batch in batches:
        yield batch
        if interrupted():
            return


def _restore(
    checkpoints: Checkpoints, step: int, target: TrainState, data: Data, run: RunDirectory
) -> TrainState:
    state, facts = checkpoints.restore(step, target)
    if facts["data"]["fingerprint"] != data.fingerprint:
        raise UserError(
            f"{run.path}: the training data is not what the checkpoint of step {step} was trained "
            "on; put the data back, or give another --run directory"
        )
    return state


def _in_steps(config: LoopConfig, data: Data) -> LoopConfig:
    if config.evaluate_every != "epoch":
        return config
    return dataclasses.replace(config, evaluate_every=data.steps_per_epoch)


def _tracked(settings: TrainingSettings) -> tuple[str, Any] | None:
    metric = settings.checkpoint.metric
    return None if metric is None else (metric, settings.checkpoint.mode)


def _check_batch_size(settings: TrainingSettings, mesh: Mesh) -> None:
    accumulation, shards = settings.step.accumulation_steps, row_shards(mesh)
    if settings.batch_size % (accumulation * shards):
        raise UserError(
            f"batch_size={settings.batch_size} is not a multiple of step.accumulation_steps="
            f"{accumulation} times the {shards} devices that split the batch"
        )
    if settings.rows_per_evaluation() % shards:
        raise UserError(
            f"evaluation_batch_size={settings.rows_per_evaluation()} is not a multiple of the "
            f"{shards} devices that split the batch"
        )


def _check_metric(settings: TrainingSettings, data: Data) -> None:
    if settings.checkpoint.metric is not None and data.evaluation_batches is None:
        raise UserError(
            f"checkpoint.metric={settings.checkpoint.metric!r} needs validation data, there is none"
        )
    if settings.loop.early_stopping_patience and settings.checkpoint.metric is None:
        raise UserError("loop.early_stopping_patience needs checkpoint.metric")


def _results(log: MetricLog, step: int, seconds: float) -> dict[str, float]:
    results: dict[str, float] = {"step": step, "train_runtime": seconds}
    losses = log.history("loss")
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
