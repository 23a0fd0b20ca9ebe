"""From settings, parameters and data to a trained model in a run directory."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.config import to_values
from jaxbert.data.loader import iterate
from jaxbert.errors import DivergedError
from jaxbert.experiment.alike import check_same_run, check_same_step
from jaxbert.experiment.checks import checked_mesh
from jaxbert.experiment.held_out import HeldOut
from jaxbert.experiment.lesson import lesson
from jaxbert.experiment.restoring import check_same_teacher, restored
from jaxbert.experiment.results import first_runtime, results_of
from jaxbert.experiment.run_directory import write_data
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.experiment.teacher import KnownTeacher
from jaxbert.experiment.trainee import Data, Trainee
from jaxbert.experiment.training_phases import training_phases
from jaxbert.optim.averaging import averaged_params
from jaxbert.parallel.processes import Agreement, in_first, is_first, to_first
from jaxbert.parallel.rows import RowPlacement
from jaxbert.tasks.task import Task
from jaxbert.training.ledger import Ledger
from jaxbert.training.log import MetricLog
from jaxbert.training.loop import Loop, Outcome, scores, train
from jaxbert.training.phases import TrainingPhase
from jaxbert.training.profile import NO_STEPS, Profile, trace_directory
from jaxbert.training.progress import TrainingProgress
from jaxbert.training.recorder import Recorder
from jaxbert.training.state import TrainState, new_state
from jaxbert.training.step import gathering, jit_evaluation_step, make_evaluation_step
from jaxbert.tree import num_elements
from jaxbert.typing import HostBatch, Params


@dataclass(frozen=True)
class Fitted:
    """A run that has ended."""

    params: Params | None
    """Of the best checkpoint where a metric says which that is, else the last; with `averaging`
    their average up to there. Host arrays.

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
    mesh = checked_mesh(
        settings, trainee.all_encoders, data.batch_sizes, has_validation=bool(data.held_out)
    )
    apply = gathering(trainee.make_apply(settings.compute_dtype(), settings.execution), mesh)
    first_rows = data.train.digest()
    check_same_run(settings, f"{data.fingerprint} {first_rows} {trainee.architecture}")
    interrupted = _latched(Agreement(interrupted))
    job = _Job(run, settings, trainee, task, data, first_rows, num_steps, mesh, apply, interrupted)
    with (
        Ledger(run.path, began) as ledger,
        closing(Checkpoints(run.checkpoints, settings.checkpoint)) as checkpoints,
        closing(Profile(profile, trace_directory(run.path))) as trace,
    ):
        return _fit(job, checkpoints, ledger, trace, quiet=quiet)


def check_fit(
    settings: TrainingSettings, trainee: Trainee, task: Task, data: Data, num_steps: int
) -> None:
    """Raises UserError where `fit` would before it reads a weight or compiles a program."""
    mesh = checked_mesh(
        settings, trainee.all_encoders, data.batch_sizes, has_validation=bool(data.held_out)
    )
    apply = gathering(trainee.make_apply(settings.compute_dtype(), settings.execution), mesh)
    training_phases(
        settings,
        task,
        apply,
        trainee.shapes,
        num_steps=num_steps,
        ends_epoch=data.train.ends_epoch,
        mesh=mesh,
    )


def _fit(
    job: _Job, checkpoints: Checkpoints, ledger: Ledger, profile: Profile, *, quiet: bool
) -> Fitted:
    started = time.perf_counter()
    taught = lesson(job.apply, job.task, job.trainee, job.settings, job.mesh)
    phases = training_phases(
        job.settings,
        taught.task,
        taught.apply,
        job.trainee.shapes,
        num_steps=job.num_steps,
        ends_epoch=job.data.train.ends_epoch,
        mesh=job.mesh,
        fixed=taught.fixed,
        pull=job.trainee.pull,
    )
    latest = checkpoints.latest_step()
    check_same_step(latest, job.run.checkpoints)
    if latest is None:
        shards = job.settings.step.shard_optimizer
        params, optimizer = job.trainee.make_params(job.mesh), phases[0].optimizer
        state = new_state(params, optimizer, job.mesh, shard_optimizer=shards)
        del params
    else:
        with ledger.spent("restore"):
            state = _restored(job, checkpoints, latest, phases)
    known = None if job.trainee.teacher is None else job.trainee.teacher.read(job.mesh)
    if known is not None and latest is not None:
        check_same_teacher(job.run, known.digest, checkpoints.run(latest), latest)
    write_data(job.run, job.data.fingerprints)
    first_step = int(state.step)
    with (
        closing(MetricLog(job.run.path, first_step)) as log,
        TrainingProgress(job.num_steps, first_step, quiet=quiet or not is_first()) as progress,
    ):
        missed = profile.missed(first_step, job.num_steps)
        lines = _opening(job, state), *_described(phases), *_taught_by(job), *job.data.notes
        for line in (*lines, *missed):
            progress.say(line)
        for damaged in checkpoints.damaged:
            progress.say(f"{damaged}: an incomplete checkpoint, which is not used")
        held_out = _held_out(job, averaged_params(state.params, state.opt_state))
        loop = _loop(job, phases, known, held_out, checkpoints, log, progress, ledger, profile)
        try:
            state, outcome = train(loop, state)
        except DivergedError:
            ledger.ended("diverged")
            raise
        ledger.ended(outcome)
        with ledger.spent("save"):
            checkpoints.wait()
        last_step, best = int(state.step), checkpoints.best_step(scores(loop))
        is_best = best is None or best == last_step
        if outcome != "preempted" and best is not None and not is_best:
            # Two states may be more than the devices hold.
            del state
            state = _restored(job, checkpoints, best, phases)
        outputs, params = {}, averaged_params(state.params, state.opt_state)
        if outcome != "preempted" and held_out is not None:
            outputs = held_out.outputs(params, known=is_best)
    results = results_of(log, int(state.step), time.perf_counter() - started)
    if last_step == first_step:
        results |= in_first(lambda: first_runtime(job.run))
    exported = None if outcome == "preempted" else to_first(params)
    return Fitted(exported, outcome, int(state.step), results, outputs)


def _restored(
    job: _Job, checkpoints: Checkpoints, step: int, phases: Sequence[TrainingPhase]
) -> TrainState:
    return restored(
        job.run,
        job.data.fingerprints,
        job.first_rows,
        job.trainee.architecture,
        checkpoints,
        step,
        phases,
    )


def _opening(job: _Job, state: TrainState) -> str:
    """What is about to run, so that a mistake in it costs no hours."""
    size = num_elements(state.params)
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
    size = num_elements(phases[0].state.params)
    if phases[0].num_trained == size:
        return []
    trained = (f"{p.num_trained:,} after step {p.first_step:,}" for p in phases)
    return [f"trained parameters: {', '.join(trained)}"]


def _taught_by(job: _Job) -> list[str]:
    teacher = job.trainee.teacher
    if teacher is None:
        return []
    size, given = num_elements(teacher.shapes), teacher.config
    told = [f"teacher: {given.teacher}, {teacher.encoder.model_type} of {size:,} parameters"]
    if not given.labels_weight and not given.logits_weight:
        told.append(
            "labels_weight=0 and logits_weight=0: the encoder learns, the head stays as it began"
        )
    return told


def _loop(
    job: _Job,
    phases: Sequence[TrainingPhase],
    teacher: KnownTeacher | None,
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
            "architecture": job.trainee.architecture,
            **({} if teacher is None else {"teacher": teacher.digest}),
        },
        log=log,
        recorder=Recorder(
            log,
            progress,
            ledger,
            job.trainee.step_flops,
            log_every=settings.loop.log_every,
            num_steps=job.num_steps,
            stop_on_nonfinite=settings.step.nonfinite == "stop",
            directory=job.run.path,
            copies=RowPlacement(job.mesh).copies,
            is_late=not _waits_for_steps(job.mesh),
        ),
        ledger=ledger,
        profile=profile,
        mesh=job.mesh,
        interrupted=job.interrupted,
        fixed=() if teacher is None else (teacher.params,),
    )


def _waits_for_steps(mesh: Mesh) -> bool:
    """Whether a step is done once it is handed over (`cli/cpu_memory.py`)."""
    is_cpu = mesh.devices.flat[0].platform == "cpu"
    return is_cpu and not jax.config.read("jax_cpu_enable_async_dispatch")


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
    held_out = HeldOut(
        job.data.held_out, step, batch_size, job.mesh, job.interrupted, job.task.kept
    )
    if (metric := job.settings.checkpoint.metric) is not None:
        held_out.check_metric(metric, params)
    return held_out


def _latched(interrupted: Callable[[], bool]) -> Callable[[], bool]:
    """Once true, always true: what was cut short must not pass for complete."""
    was_interrupted = False

    def ask() -> bool:
        nonlocal was_interrupted
        was_interrupted = was_interrupted or interrupted()
        return was_interrupted

    return ask
