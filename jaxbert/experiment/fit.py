"""From settings, parameters and data to a trained model in a run directory."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.config import to_values
from jaxbert.data.loader import iterate
from jaxbert.data.stream import Stream
from jaxbert.experiment.checks import (
    check_checkpoints,
    check_is_metric,
    check_same_run,
    check_training,
)
from jaxbert.experiment.held_out import Evaluation, HeldOut
from jaxbert.experiment.parameters import MakeParams
from jaxbert.experiment.restoring import restored
from jaxbert.experiment.run_directory import RunDirectory, write_data
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import abstract_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.optim.groups import FROZEN, group_labels
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import make_schedule
from jaxbert.optim.unfreezing import Stage, stages
from jaxbert.parallel.mesh import make_mesh
from jaxbert.parallel.processes import Agreement, in_first, is_first, to_first
from jaxbert.parallel.rows import RowPlacement
from jaxbert.tasks.task import Task
from jaxbert.training.flops import share_computed, train_flops
from jaxbert.training.ledger import Ledger
from jaxbert.training.log import MetricLog, from_json
from jaxbert.training.loop import Loop, Outcome, scores, train
from jaxbert.training.phases import TrainingPhase
from jaxbert.training.profile import NO_STEPS, Profile
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
    """What a run trains and is evaluated on."""

    train: Stream
    held_out: Mapping[str, Evaluation]
    """By the name that goes before their metrics; a single one is called ""."""
    fingerprints: Mapping[str, str]
    """Of each part of the data, by what messages call it: a run never continues on other data."""
    notes: tuple[str, ...] = ()
    """What the one who starts the run should know of it."""

    @property
    def fingerprint(self) -> str:
        """Those of all parts."""
        return " ".join(self.fingerprints.values())


@dataclass(frozen=True)
class Trainee:
    """What is trained: a model, or several that are trained together, as functions."""

    encoders: tuple[EncoderConfig, ...]
    make_apply: Callable[[jnp.dtype, Execution], Callable[..., Any]]
    """Compute dtype and execution -> the pure function that the task calls."""
    shapes: Params
    """Of the parameters, abstract."""
    make_params: MakeParams
    flops: Callable[[HostBatch], float]
    """Model FLOPs of a training step on a batch."""

    @classmethod
    def of(cls, encoder: EncoderConfig, head: Head, make_params: MakeParams) -> "Trainee":
        """One encoder with its head."""
        return cls(
            (encoder,),
            lambda dtype, execution: make_apply(encoder, head, dtype, execution),
            abstract_params(encoder, head),
            make_params,
            lambda batch: train_flops(encoder, batch),
        )


@dataclass(frozen=True)
class Fitted:
    """A run that has ended."""

    params: Params | None
    """Of the best checkpoint where a metric says which that is, else the last; host arrays.

    None where there is nothing to export: after a preemption, and in all processes but the first.
    """
    outcome: Outcome
    step: int
    """The step of `params`."""
    results: dict[str, float]
    """Figures of the run, named as transformers names them.

    `train_loss` is the mean of the last 100 logged losses; `train_runtime` the seconds of the
    process that ended the run.
    """
    outputs: Mapping[str, Any]
    """What `params` give for the held-out rows that are reported, as `predict` gives it."""


@dataclass(frozen=True)
class _Job:
    """What does not change from the first step to the last."""

    run: RunDirectory
    settings: TrainingSettings
    trainee: Trainee
    task: Task
    data: Data
    first_rows: str
    """Digest of the training stream."""
    num_steps: int
    mesh: Mesh
    apply: Callable[..., Any]
    interrupted: Callable[[], bool]


def fit(
    run: RunDirectory,
    settings: TrainingSettings,
    trainee: Trainee,
    task: Task,
    data: Data,
    num_steps: int,
    *,
    began: float | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    profile: range = NO_STEPS,
    quiet: bool = False,
) -> Fitted:
    """Trains, or continues where the last whole checkpoint of `run` stands.

    `began`: `time.perf_counter()` when the work on the run began; None: now.
    """
    mesh = checked_mesh(settings, trainee.encoders, data)
    apply = gathering(trainee.make_apply(settings.compute_dtype(), settings.execution), mesh)
    first_rows = data.train.digest()
    check_same_run(settings, f"{data.fingerprint} {first_rows}")
    interrupted = _latched(Agreement(interrupted))
    job = _Job(run, settings, trainee, task, data, first_rows, num_steps, mesh, apply, interrupted)
    with (
        Ledger(run.path, began) as ledger,
        closing(Checkpoints(run.checkpoints, settings.checkpoint)) as checkpoints,
        closing(Profile(profile, run.path)) as trace,
    ):
        return _fit(job, checkpoints, ledger, trace, quiet=quiet)


def checked_mesh(settings: TrainingSettings, encoders: Sequence[EncoderConfig], data: Data) -> Mesh:
    """The mesh; UserError for settings that do not go together on it or with the data."""
    mesh = make_mesh(settings.mesh)
    for encoder in encoders:
        check_training(settings, encoder, mesh, [phase.batch_size for phase in data.train.phases])
    check_checkpoints(settings, has_validation=bool(data.held_out))
    return mesh


def _fit(
    job: _Job, checkpoints: Checkpoints, ledger: Ledger, profile: Profile, *, quiet: bool
) -> Fitted:
    started = time.perf_counter()
    phases = training_phases(
        job.settings,
        job.task,
        job.apply,
        job.trainee.shapes,
        num_steps=job.num_steps,
        ends_epoch=job.data.train.ends_epoch,
        mesh=job.mesh,
    )
    if (latest := checkpoints.latest_step()) is None:
        shards = job.settings.step.shard_optimizer
        params, optimizer = job.trainee.make_params(job.mesh), phases[0].optimizer
        state = new_state(params, optimizer, job.mesh, shard_optimizer=shards)
        del params
    else:
        with ledger.spent("restore"):
            state = _restored(job, checkpoints, latest, phases)
    write_data(job.run, job.data.fingerprints)
    first_step = int(state.step)
    with (
        closing(MetricLog(job.run.path, first_step)) as log,
        TrainingProgress(job.num_steps, first_step, quiet=quiet or not is_first()) as progress,
    ):
        missed = profile.missed(first_step, job.num_steps)
        for line in (_opening(job, state), *_described(phases), *job.data.notes, *missed):
            progress.say(line)
        for damaged in checkpoints.damaged:
            progress.say(f"{damaged}: an incomplete checkpoint, which is not used")
        held_out = _held_out(job, state.params)
        loop = _loop(job, phases, held_out, checkpoints, log, progress, ledger, profile)
        state, outcome = train(loop, state)
        ledger.ended(outcome)
        with ledger.spent("save"):
            checkpoints.wait()
        last_step, best = int(state.step), checkpoints.best_step(scores(loop))
        is_best = best is None or best == last_step
        if outcome != "preempted" and best is not None and not is_best:
            # Two states may be more than the devices hold.
            del state
            state = _restored(job, checkpoints, best, phases)
        outputs = {}
        if outcome != "preempted" and held_out is not None:
            outputs = held_out.outputs(state.params, known=is_best)
    results = _results(log, int(state.step), time.perf_counter() - started)
    if last_step == first_step:
        results |= in_first(lambda: _first_runtime(job.run))
    exported = None if outcome == "preempted" else to_first(state.params)
    return Fitted(exported, outcome, int(state.step), results, outputs)


def _restored(
    job: _Job, checkpoints: Checkpoints, step: int, phases: Sequence[TrainingPhase]
) -> TrainState:
    return restored(job.run, job.data.fingerprints, job.first_rows, checkpoints, step, phases)


def training_phases(
    settings: TrainingSettings,
    task: Task,
    apply: Callable[..., Any],
    params: Params,
    *,
    num_steps: int,
    ends_epoch: Callable[[int], bool],
    mesh: Mesh,
) -> tuple[TrainingPhase, ...]:
    """For abstract `params`, what is trained from when on: one phase, or more with unfreezing."""
    schedule = make_schedule(settings.schedule, settings.optimizer.learning_rate, num_steps)
    frozen = group_labels(params, settings.optimizer.freeze, settings.optimizer.freeze_layers)
    shards = settings.step.shard_optimizer

    def phase(stage: Stage) -> TrainingPhase:
        optimizer = make_optimizer(settings.optimizer, schedule, params, stage.labels)
        state = abstract_state(params, optimizer, mesh, shard_optimizer=shards)
        step = make_train_step(
            apply,
            task,
            optimizer,
            schedule,
            stage.labels,
            settings.step,
            settings.seed,
            mesh,
            settings.compute_dtype(),
        )
        sizes = jax.tree.map(lambda x, label: x.size * (label != FROZEN), params, stage.labels)
        num_trained = sum(jax.tree.leaves(sizes))
        compiled = jit_train_step(step, state, mesh)
        share = share_computed(stage.labels)
        return TrainingPhase(stage.first_step, optimizer, state, compiled, num_trained, share)

    return tuple(map(phase, stages(settings.unfreezing, frozen, num_steps, ends_epoch)))


def _opening(job: _Job, state: TrainState) -> str:
    """What is about to run, so that a mistake in it costs no hours."""
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    stream, step = job.data.train, int(state.step)
    sizes = " then ".join(str(phase.batch_size) for phase in stream.phases)
    return (
        f"{f'continuing after step {step:,}: ' if step else ''}{size:,} parameters, "
        f"{stream.phases[0].rows.num_rows:,} rows an epoch, {job.num_steps:,} steps of {sizes} "
        f"({stream.epochs(job.num_steps):.3g} epochs), {job.settings.compute_dtype()} "
        f"on {job.mesh.devices.size} x {job.mesh.devices.flat[0].device_kind}"
        f"{f' in {jax.process_count()} processes' if jax.process_count() > 1 else ''}"
    )


def _described(phases: Sequence[TrainingPhase]) -> list[str]:
    """What is trained when, where that is not everything always."""
    size = sum(leaf.size for leaf in jax.tree.leaves(phases[0].state.params))
    if phases[0].num_trained == size:
        return []
    trained = (f"{p.num_trained:,} after step {p.first_step:,}" for p in phases)
    return [f"trained parameters: {', '.join(trained)}"]


def _loop(
    job: _Job,
    phases: Sequence[TrainingPhase],
    held_out: HeldOut | None,
    checkpoints: Checkpoints,
    log: MetricLog,
    progress: TrainingProgress,
    ledger: Ledger,
    profile: Profile,
) -> Loop:
    settings, data = job.settings, job.data
    return Loop(
        config=settings.loop,
        num_steps=job.num_steps,
        ends_epoch=data.train.ends_epoch,
        accumulation_steps=settings.step.accumulation_steps,
        phases=phases,
        batches=partial(
            iterate,
            _rows_of(job),
            prefetch=settings.loop.prefetch,
            threads=settings.loop.loader_threads,
        ),
        evaluate=held_out,
        checkpoints=checkpoints,
        run={
            "config": to_values(settings),
            "data": {"fingerprint": data.fingerprint, "first_rows": job.first_rows},
        },
        log=log,
        recorder=Recorder(
            log,
            progress,
            ledger,
            job.trainee.flops,
            log_every=settings.loop.log_every,
            num_steps=job.num_steps,
            stop_on_nonfinite=settings.step.nonfinite == "stop",
            directory=job.run.path,
            copies=RowPlacement(job.mesh).copies,
        ),
        ledger=ledger,
        profile=profile,
        mesh=job.mesh,
        interrupted=job.interrupted,
    )


def _rows_of(job: _Job) -> Callable[[int], HostBatch]:
    """Step -> the rows of its batch that this process makes."""
    placement, stream = RowPlacement(job.mesh, job.settings.step.accumulation_steps), job.data.train
    return lambda step: stream.some(step, placement.numbers(stream.phase(step).batch_size))


def _held_out(job: _Job, params: Params) -> HeldOut | None:
    """Raises UserError for a checkpoint.metric that evaluation does not give."""
    if not job.data.held_out:
        return None
    step = jit_evaluation_step(make_evaluation_step(job.apply, job.task), params, job.mesh)
    batch_size = job.settings.rows_per_evaluation()
    held_out = HeldOut(job.data.held_out, step, batch_size, job.mesh, job.interrupted)
    if (metric := job.settings.checkpoint.metric) is not None:
        # A misspelt name should not be found out after the first hours of training.
        names = held_out.metric_names(params, 1)
        if metric not in names:
            # Some are of rows that the first batch may lack, such as questions without an answer.
            names = held_out.metric_names(params, None)
        check_is_metric(metric, names)
    return held_out


def _latched(interrupted: Callable[[], bool]) -> Callable[[], bool]:
    """Once true, always true: what was cut short must not pass for complete."""
    was_interrupted = False

    def ask() -> bool:
        nonlocal was_interrupted
        was_interrupted = was_interrupted or interrupted()
        return was_interrupted

    return ask


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


def _first_runtime(run: RunDirectory) -> dict[str, float]:
    """The time that a run which was over already had taken: the same command again takes none."""
    if not run.results.is_file():
        return {}
    return {"train_runtime": from_json(run.results.read_text(encoding="utf-8"))["train_runtime"]}
