"""From settings, parameters and data to a trained model in a run directory."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.config import nearest, to_values
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
from jaxbert.training.loop import Loop, Outcome, scores, train
from jaxbert.training.progress import TrainingProgress
from jaxbert.training.recorder import Recorder
from jaxbert.training.state import TrainState, abstract_state, new_state
from jaxbert.training.step import (
    gathering,
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
    num_examples: int
    """For training: an epoch."""
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
    apply = gathering(make_apply(encoder, task.head, settings.compute_dtype()), mesh)
    interrupted = _latched(interrupted)
    started = time.perf_counter()
    with ExitStack() as stack:
        checkpoints = stack.enter_context(
            closing(Checkpoints(run.checkpoints, settings.checkpoint))
        )
        state, step = _prepare(settings, apply, task, make_params(), num_steps, mesh)
        target = abstract_state(state)
        if (latest := checkpoints.latest_step()) is not None:
            state = _restore(checkpoints, latest, target, data, run)
        first_step = int(state.step)
        log = stack.enter_context(closing(MetricLog(run.path, first_step)))
        progress = stack.enter_context(TrainingProgress(num_steps, first_step, quiet=quiet))
        for damaged in checkpoints.damaged:
            progress.say(f"{damaged}: an incomplete checkpoint, which is not used")
        loop = Loop(
            config=settings.loop,
            num_steps=num_steps,
            ends_epoch=_epoch_ends(data.num_examples, settings.batch_size),
            accumulation_steps=settings.step.accumulation_steps,
            step=step,
            batches=lambda start, stop: iterate(data.train_batch, start, stop),
            evaluate=_evaluator(settings, apply, task, state.params, data, mesh, interrupted),
            checkpoints=checkpoints,
            run={"config": to_values(settings), "data": {"fingerprint": data.fingerprint}},
            log=log,
            recorder=_recorder(settings, encoder, num_steps, log, progress, run),
            mesh=mesh,
            interrupted=interrupted,
        )
        state, outcome = train(loop, state)
        checkpoints.wait()
        best = checkpoints.best_step(scores(loop))
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


def _recorder(
    settings: TrainingSettings,
    encoder: EncoderConfig,
    num_steps: int,
    log: MetricLog,
    progress: TrainingProgress,
    run: RunDirectory,
) -> Recorder:
    return Recorder(
        log,
        progress,
        encoder,
        log_every=settings.loop.log_every,
        num_steps=num_steps,
        stop_on_nonfinite=settings.step.nonfinite == "stop",
        directory=run.path,
    )


def _evaluator(
    settings: TrainingSettings,
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
    if settings.checkpoint.metric is not None:
        # A misspelt name should not be found out after the first hours of training.
        metrics, _ = evaluate(step, params, islice(batches(), 1), task, mesh)
        _check_is_one_of(metrics, settings.checkpoint.metric)

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


def _latched(interrupted: Callable[[], bool]) -> Callable[[], bool]:
    """Once true, always true: what was cut short must not pass for complete."""
    was_interrupted = False

    def ask() -> bool:
        nonlocal was_interrupted
        was_interrupted = was_interrupted or interrupted()
        return was_interrupted

    return ask


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


def _epoch_ends(num_examples: int, batch_size: int) -> Callable[[int], bool]:
    """Batches run on from one epoch into the next, so an epoch may end inside a batch."""
    return lambda step: step * batch_size // num_examples > (step - 1) * batch_size // num_examples


def _check_batch_size(settings: TrainingSettings, mesh: Mesh) -> None:
    accumulation, shards = settings.step.accumulation_steps, row_shards(mesh)
    if settings.batch_size % (accumulation * shards):
        raise UserError(
            f"batch_size={settings.batch_size} is not a multiple of step.accumulation_steps="
            f"{accumulation} times the number of devices that split the batch, {shards}"
        )
    if settings.rows_per_evaluation() % shards:
        raise UserError(
            f"evaluation_batch_size={settings.rows_per_evaluation()} is not a multiple of the "
            f"number of devices that split the batch, {shards}"
        )


def _check_metric(settings: TrainingSettings, data: Data) -> None:
    if settings.checkpoint.metric is not None and data.evaluation_batches is None:
        raise UserError(
            f"checkpoint.metric={settings.checkpoint.metric!r} needs validation data, there is none"
        )
    if settings.loop.early_stopping_patience and settings.checkpoint.metric is None:
        raise UserError("loop.early_stopping_patience needs checkpoint.metric")


def _check_is_one_of(metrics: Mapping[str, float], name: str) -> None:
    if name not in metrics:
        raise UserError(
            f"checkpoint.metric: {name!r} is no metric of this task: {nearest(name, [*metrics])}"
        )


def _results(log: MetricLog, step: int, seconds: float) -> dict[str, float]:
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
