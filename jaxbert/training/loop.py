"""The training loop: restore is done, then batch, step, and when due log, evaluate, save."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge
from jax.sharding import Mesh

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.metrics.ranking import ranked
from jaxbert.optim.averaging import averaged_params
from jaxbert.options import check_options
from jaxbert.parallel.rows import RowPlacement
from jaxbert.training.goodput import Activity
from jaxbert.training.ledger import Ledger
from jaxbert.training.log import MetricLog
from jaxbert.training.phases import TrainingPhase, entered, phase_at, phase_of_state
from jaxbert.training.profile import Profile
from jaxbert.training.recorder import Recorder
from jaxbert.training.state import TrainState
from jaxbert.typing import HostBatch, Params

Outcome = Literal["finished", "stopped_early", "preempted"]


@dataclass(frozen=True)
class LoopConfig:
    """When what happens, in steps, and how batches come in time for it."""

    log_every: Annotated[int, Ge(1)] = 10
    """Steps from one line of metrics to the next."""
    evaluate_every: Annotated[int, Ge(1)] | Literal["epoch"] | None = None
    """Steps, or `epoch`; null: at the end only."""
    checkpoint_every: Annotated[int, Ge(1)] | None = 1000
    """Besides after every evaluation; null: only then."""
    early_stopping_patience: Annotated[int, Ge(1)] | None = None
    """Evaluations without a better `checkpoint.metric` after which the run ends."""
    prefetch: Annotated[int, Ge(0)] = 2
    """Batches made ahead of their use, at least one for each thread; 0: none."""
    loader_threads: Annotated[int, Ge(1)] = 1
    """Threads that make batches; more help where `data_share` is high, and change no batch."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Loop:
    """All that the loop calls; plain functions and values."""

    config: LoopConfig
    num_steps: int
    ends_epoch: Callable[[int], bool]
    """Whether a step is the first after which every example was seen once more."""
    accumulation_steps: int
    phases: Sequence[TrainingPhase]
    """Steps of one compiled program each, in order."""
    batches: Callable[[int, int], Iterator[HostBatch]]
    """(start, stop) -> this process's rows of those steps, a pure function of the step."""
    evaluate: Callable[[Params], Mapping[str, float] | None] | None
    """None returned: interrupted."""
    checkpoints: Checkpoints
    run: Mapping[str, Any]
    """Goes into every checkpoint."""
    log: MetricLog
    recorder: Recorder
    ledger: Ledger
    profile: Profile
    mesh: Mesh
    interrupted: Callable[[], bool]
    """Once true it stays true; alike in all processes."""
    fixed: tuple[Params, ...] = ()
    """What steps take after state and batch."""


def train(loop: Loop, state: TrainState) -> tuple[TrainState, Outcome]:
    """Runs from the state's step to `num_steps`, an early stop, or a preemption."""
    step = int(state.step)
    placement = RowPlacement(loop.mesh, loop.accumulation_steps)
    if step and _evaluation_is_due(loop, step) and not _is_evaluated(loop, step):
        _evaluate_and_save(loop, step, state)
    if _is_over(loop):
        return state, "stopped_early"
    loop.ledger.begin(step)
    phase, before = phase_of_state(loop.phases, step), None
    # A CPU works on the steps themselves while they are handed to it.
    is_cpu = loop.mesh.devices.flat[0].platform == "cpu"
    dispatching: Activity = "train" if is_cpu else "dispatch"
    for batch in loop.ledger.waiting(loop.batches(step, loop.num_steps)):
        if loop.interrupted():
            break
        due, shapes = phase_at(loop.phases, step), {name: x.shape for name, x in batch.items()}
        if due is not phase or before not in (None, shapes):
            loop.recorder.compiling()
        before = shapes
        if due is not phase:
            state, phase = entered(due, state), due
        loop.profile.before(step)
        with loop.ledger.spent(dispatching):
            state, metrics = phase.step(state, placement.put(batch), *loop.fixed)
        step += 1
        loop.recorder.add(step, metrics, batch, phase.flops_share)
        loop.profile.after(step, metrics)
        if _evaluation_is_due(loop, step):
            _evaluate_and_save(loop, step, state)
            if _is_over(loop):
                return state, "stopped_early"
        elif _checkpoint_is_due(loop, step):
            _save(loop, step, state)
    if step == loop.num_steps and not loop.interrupted():
        return state, "finished"
    # What a run begins with is made again, also where its configuration is another one by then.
    if step:
        _save(loop, step, state)
    return state, "preempted"


def _evaluate_and_save(loop: Loop, step: int, state: TrainState) -> None:
    loop.recorder.flush()
    if loop.evaluate:
        loop.recorder.evaluating(step)
    with loop.ledger.spent("evaluate"):
        params = averaged_params(state.params, state.opt_state)
        metrics = loop.evaluate(params) if loop.evaluate else {}
    if metrics is None:
        return
    if metrics:
        loop.recorder.evaluated(step, metrics)
    _save(loop, step, state)


def _save(loop: Loop, step: int, state: TrainState) -> None:
    # Only a state whose loss is known to be finite is worth keeping.
    loop.recorder.flush()
    with loop.ledger.spent("save"):
        loop.log.sync()
        # The end's own score is not among them: that checkpoint stays as the newest, and in a run
        # that is given more steps it may replace none that a longer one would still have.
        regular = {at: score for at, score in scores(loop).items() if _is_regular(loop, at)}
        loop.checkpoints.save(step, state, loop.run, regular)
    loop.ledger.note(step)


def scores(loop: Loop) -> dict[int, float]:
    """The metric that checkpoints are ranked by at every evaluated step; {} without one.

    From the log alone, so that a resumed run decides as the uninterrupted one; without what was
    evaluated because the run was to end there, and then was given more steps.
    """
    name = loop.checkpoints.config.metric
    found = {} if name is None else loop.log.series(f"eval/{name}")
    return {step: score for step, score in found.items() if _evaluation_is_due(loop, step)}


def _evaluation_is_due(loop: Loop, step: int) -> bool:
    return step == loop.num_steps or _is_regular(loop, step)


def _is_regular(loop: Loop, step: int) -> bool:
    """Whether there is an evaluation after `step` steps wherever the run ends."""
    every = loop.config.evaluate_every
    return loop.ends_epoch(step) if every == "epoch" else every is not None and step % every == 0


def _checkpoint_is_due(loop: Loop, step: int) -> bool:
    every = loop.config.checkpoint_every
    return every is not None and step % every == 0


def _is_evaluated(loop: Loop, step: int) -> bool:
    return loop.evaluate is None or any(
        row["step"] == step and any(name.startswith("eval/") for name in row)
        for row in loop.log.rows
    )


def _is_over(loop: Loop) -> bool:
    patience, by_step = loop.config.early_stopping_patience, scores(loop)
    if patience is None or not by_step:
        return False
    best = ranked(by_step, loop.checkpoints.config.better)[0]
    return sum(step > best for step in by_step) >= patience
