"""The loop with a step of plain arithmetic: when it does what, and resumption from anywhere."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.metrics.ranking import ranked
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.ledger import Ledger
from jaxbert.training.log import MetricLog
from jaxbert.training.loop import Loop, LoopConfig, scores, train
from jaxbert.training.phases import TrainingPhase
from jaxbert.training.profile import NO_STEPS, Profile
from jaxbert.training.state import TrainState

NUM_STEPS, NUM_EVALUATION_BATCHES, EXAMPLES, BATCH = 10, 2, 20, 8


class Records:
    """A Recorder of single numbers, with its delay of a step."""

    def __init__(self, log: MetricLog):
        self.log, self.pending = log, None

    def add(self, step: int, metrics: dict[str, float], batch: Any, share: float) -> None:
        self.flush()
        self.pending = {"step": step} | metrics

    def flush(self) -> None:
        if self.pending is not None:
            self.log.write(self.pending)
        self.pending = None

    def evaluating(self, step: int) -> None:
        """Nothing to show."""

    def evaluated(self, step: int, metrics: dict[str, float]) -> None:
        self.log.write({"step": step} | {f"eval/{name}": v for name, v in metrics.items()})


@dataclass
class Memory:
    """Checkpoints that outlive the runs of a test."""

    config: CheckpointConfig
    saved: dict[int, TrainState] = field(default_factory=dict)
    history: list[int] = field(default_factory=list)

    def save(self, step: int, state: TrainState, run: Any, scores: dict[int, float]) -> None:
        if step not in self.saved:
            self.saved[step] = state
            self.history.append(step)
        best = ranked({s: scores[s] for s in self.saved if s in scores}, self.config.better)
        kept = {*sorted(self.saved)[-self.config.keep_last :], *best[: self.config.keep_best]}
        self.saved = {s: self.saved[s] for s in kept}


@dataclass
class Polls:
    """An `interrupted` that turns true after some number of questions."""

    limit: float = math.inf
    asked: int = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.limit


@dataclass
class Session:
    """Processes that run the same command in the same directory, one after the other."""

    directory: Path
    config: LoopConfig
    checkpoints: Memory
    accumulation_steps: int = 2
    num_steps: int = NUM_STEPS

    def start(self, polls: Polls) -> tuple[TrainState, str]:
        latest = max(self.checkpoints.saved, default=None)
        state = TrainState(0, 1.0, None) if latest is None else self.checkpoints.saved[latest]
        log = MetricLog(self.directory, state.step)
        try:
            return train(self.loop(log, polls), state)
        finally:
            log.close()

    def loop(self, log: MetricLog, polls: Polls) -> Loop:
        def step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Any]:
            assert batch["numbers"].shape == (self.accumulation_steps, BATCH // 2)
            params = state.params * 1.01 + float(batch["numbers"].sum())
            return TrainState(state.step + 1, params, None), {"loss": params}

        def evaluate(params: float) -> dict[str, float] | None:
            for _ in range(NUM_EVALUATION_BATCHES):
                if polls():
                    return None
            return {"score": math.sin(params), "error": -math.sin(params), "loss": params}

        return Loop(
            config=self.config,
            num_steps=self.num_steps,
            ends_epoch=lambda step: step * BATCH // EXAMPLES > (step - 1) * BATCH // EXAMPLES,
            accumulation_steps=self.accumulation_steps,
            phases=[TrainingPhase(0, optax.identity(), None, step, 1)],
            batches=lambda start, stop: (
                {"numbers": np.full(BATCH, n, np.float32)} for n in range(start, stop)
            ),
            evaluate=evaluate,
            checkpoints=self.checkpoints,
            run={},
            log=log,
            recorder=Records(log),
            ledger=Ledger(self.directory),
            profile=Profile(NO_STEPS, self.directory),
            mesh=make_mesh(MeshConfig(), jax.devices()[:1]),
            interrupted=polls,
        )

    def rows(self) -> str:
        return (self.directory / "metrics.jsonl").read_text()


@pytest.fixture
def session(tmp_path):
    def make(name: str, *, checkpoint: CheckpointConfig | None = None, **config: Any) -> Session:
        directory = tmp_path / name
        directory.mkdir()
        memory = Memory(CheckpointConfig() if checkpoint is None else checkpoint)
        return Session(directory, LoopConfig(log_every=1, **config), memory)

    return make


def evaluated_steps(session: Session) -> list[int]:
    log = MetricLog(session.directory, NUM_STEPS)
    log.close()
    return list(log.series("eval/score"))


def test_evaluations_and_checkpoints_come_when_they_are_due(session):
    for name, config, evaluated, saved in (
        ("a", {"evaluate_every": 4, "checkpoint_every": 3}, [4, 8, 10], [3, 4, 6, 8, 9, 10]),
        ("b", {"evaluate_every": None, "checkpoint_every": None}, [10], [10]),
        ("c", {"evaluate_every": 10, "checkpoint_every": 5}, [10], [5, 10]),
    ):
        made = session(name, **config)
        _, outcome = made.start(Polls())
        assert outcome == "finished"
        assert evaluated_steps(made) == evaluated
        assert made.checkpoints.history == saved


def test_an_epoch_ends_with_the_step_that_sees_its_last_example(session):
    # 20 examples in batches of 8: 2.5 steps an epoch.
    made = session("epochs", evaluate_every="epoch", checkpoint_every=None)
    made.start(Polls())
    assert evaluated_steps(made) == [3, 5, 8, 10]


@pytest.mark.parametrize("metric", ["score", "error"])
def test_patience_counts_evaluations_without_a_better_score(session, metric):
    tracked = CheckpointConfig(metric=metric, keep_best=1)
    whole = session("whole", evaluate_every=1, checkpoint=tracked)
    whole.start(Polls())
    log = MetricLog(whole.directory, NUM_STEPS)
    log.close()
    scores = list(log.series("eval/score").values())
    outcomes = []
    for patience in (1, 2, 3):
        made = session(
            str(patience), evaluate_every=1, checkpoint=tracked, early_stopping_patience=patience
        )
        state, outcome = made.start(Polls())
        best, since, expected = -math.inf, 0, NUM_STEPS
        for step, score in enumerate(scores, 1):
            best, since = (score, 0) if score > best else (best, since + 1)
            if since == patience:
                expected = step
                break
        assert (state.step, outcome == "stopped_early") == (expected, expected < NUM_STEPS)
        assert made.start(Polls()) == (state, outcome)
        outcomes.append(outcome)
    assert "stopped_early" in outcomes


@pytest.mark.parametrize("patience", [None, 1, 2])
@pytest.mark.parametrize("metric", ["score", "error"])
def test_what_was_evaluated_at_an_end_that_moved_counts_for_nothing(session, metric, patience):
    def end(name: str, *ends: int) -> tuple[TrainState, str, int]:
        tracked = CheckpointConfig(metric=metric, keep_last=1)
        made = session(name, checkpoint=tracked, evaluate_every=3, early_stopping_patience=patience)
        for made.num_steps in ends:
            state, outcome = made.start(Polls())
        log = MetricLog(made.directory, state.step)
        log.close()
        found = scores(made.loop(log, Polls()))
        kept = {step: found[step] for step in made.checkpoints.saved if step in found}
        return state, outcome, ranked(kept, tracked.better)[0]

    whole = end("whole", NUM_STEPS)
    for early in range(1, NUM_STEPS):
        assert end(f"first_{early}", early, NUM_STEPS) == whole


@pytest.mark.parametrize(("evaluate_every", "patience"), [(3, None), (1, 2)])
def test_a_run_interrupted_at_any_moment_ends_as_the_whole_one(session, evaluate_every, patience):
    config = {
        "evaluate_every": evaluate_every,
        "checkpoint_every": 2,
        "early_stopping_patience": patience,
        "checkpoint": CheckpointConfig(metric="score", keep_last=1),
    }
    whole, polls = session("whole", **config), Polls()
    expected = whole.start(polls)
    assert expected[1] == ("finished" if patience is None else "stopped_early")
    for limit in range(polls.asked):
        made = session(f"interrupted-{limit}", **config)
        state, outcome = made.start(Polls(limit))
        assert outcome == "preempted"
        # What it begins with is no checkpoint.
        assert state.step in (0, *made.checkpoints.saved)
        assert made.start(Polls()) == expected
        assert made.rows() == whole.rows()
        assert made.checkpoints.saved == whole.checkpoints.saved


def test_a_run_interrupted_again_and_again_ends_as_the_whole_one(session):
    config = {"evaluate_every": 3, "checkpoint_every": 4}
    whole = session("whole", **config)
    expected = whole.start(Polls())
    made, starts, outcome = session("interrupted", **config), 0, "preempted"
    while outcome == "preempted":
        # Three questions: enough for a step, or for the two batches of an evaluation.
        state, outcome = made.start(Polls(3))
        starts += 1
    assert starts > 4
    assert (state, outcome) == expected
    assert made.rows() == whole.rows()


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


class Killing(Polls):
    def __call__(self) -> bool:
        if super().__call__():
            raise Killed
        return False


def test_a_killed_process_loses_what_came_after_its_last_checkpoint_and_nothing_else(session):
    config = {"evaluate_every": 4, "checkpoint_every": 3}
    whole, polls = session("whole", **config), Polls()
    expected = whole.start(polls)
    for limit in range(polls.asked):
        killed = session(f"killed-{limit}", **config)
        with pytest.raises(Killed):
            killed.start(Killing(limit))
        assert killed.start(Polls()) == expected
        assert killed.rows() == whole.rows()


def test_batches_of_other_shapes_are_another_program(session):
    made = session("shapes")
    log = MetricLog(made.directory, 0)
    loop = made.loop(log, Polls())
    told: list[int] = []
    loop.recorder.compiling = lambda: told.append(loop.recorder.pending["step"])

    def batches(start: int, stop: int) -> Any:
        for step in range(start, stop):
            width = 3 if step < 4 else 5
            yield {"numbers": np.zeros(BATCH, np.float32), "ids": np.zeros((BATCH, width))}

    train(replace(loop, batches=batches), TrainState(0, 1.0, None))
    log.close()
    assert told == [4]


def test_a_cpu_works_on_steps_while_they_are_handed_to_it(session):
    made = session("a")
    loop = made.loop(MetricLog(made.directory, 0), Polls())
    train(loop, TrainState(0, 1.0, None))
    loop.log.close()
    assert loop.ledger.seconds["train"] > 0
    assert loop.ledger.seconds["dispatch"] == 0
