"""Gradual unfreezing of a model small enough to be computed again by hand, in float64."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbert.config import parse_config
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.experiment.training_phases import training_phases
from jaxbert.nn.model import ModelOutput
from jaxbert.optim.groups import is_decayed
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding
from jaxbert.tasks.task import MODEL_INPUTS
from jaxbert.training.phases import TrainingPhase, entered, phase_at, phase_of_state
from jaxbert.training.state import TrainState, new_state
from jaxbert.tree import flat

RATE, DECAY, NUM_STEPS = 0.05, 0.1, 8
UNFREEZING = {"at": [2, 3, 5]}
JOINS = {"classifier": 0, "encoder/layers/1": 2, "encoder/layers/0": 3, "encoder/embeddings": 5}
FACTORS = {"classifier": 1.0, "encoder/layers/1": 0.5, "encoder/layers/0": 0.25}


def make_params() -> Any:
    draws = np.random.default_rng(3)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(draws.normal(size=shape), jnp.float32)

    return {
        "encoder": {
            "embeddings": {"word": {"embedding": array(8, 2)}},
            "layers": {
                "0": {"mlp": {"up": {"bias": array(8)}}},
                "1": {"mlp": {"up": {"kernel": array(2, 8)}}},
            },
        },
        "classifier": {"dense": {"kernel": array(2, 8)}},
    }


class Square(NamedTuple):
    """Half the sum of squares of x times every parameter: the gradient is x^2 times each one."""

    model_inputs: tuple[str, ...] = MODEL_INPUTS
    compares_rows: bool = False
    counts_steps: bool = False

    def loss_factor(self, name: str) -> float:
        return 1.0

    def loss_weights(self, batch: Any) -> dict[str, jax.Array]:
        return {"loss": jnp.asarray(batch["x"].size, jnp.float32)}

    def loss_sums(self, output: ModelOutput, batch: Any) -> dict[str, jax.Array]:
        total = jnp.sum(output.last_hidden_state**2) / 2
        return {"loss": total * jnp.sum(batch["x"] ** 2)}


class Run(NamedTuple):
    phases: tuple[TrainingPhase, ...]
    traces: list[int]
    mesh: Any

    def start(self) -> TrainState:
        return new_state(make_params(), self.phases[0].optimizer, self.mesh)

    def steps(self, state: TrainState, stop: int = NUM_STEPS) -> Any:
        """(state, metrics) after every update from where `state` stands, as the loop makes them."""
        start = int(state.step)
        phase = phase_of_state(self.phases, start)
        for step in range(start, stop):
            if (due := phase_at(self.phases, step)) is not phase:
                state, phase = entered(due, state), due
            batch = {"x": np.full((1, 8), 1.0 + step / 4, np.float32)}
            placed = jax.device_put(batch, batch_sharding(self.mesh, microbatches=True))
            state, metrics = phase.step(state, placed)
            yield jax.device_get(state), jax.device_get(metrics)


def make_run(mesh: Any = None, **values: Any) -> Run:
    traces: list[int] = []

    def apply(params: Any, key: jax.Array) -> ModelOutput:
        traces.append(1)
        return ModelOutput(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)]))

    optimizer = {
        "learning_rate": RATE,
        "weight_decay": DECAY,
        "layer_decay": 0.5,
        "max_grad_norm": None,
        "eps": 1e-3,
        "b2": 0.9,
    }
    settings = parse_config(TrainingSettings, {"optimizer": optimizer, **values})
    mesh = make_mesh(MeshConfig(), jax.devices()[:1]) if mesh is None else mesh
    phases = training_phases(
        settings,
        Square(),  # type: ignore[arg-type]
        apply,
        jax.eval_shape(make_params),
        num_steps=NUM_STEPS,
        ends_epoch=bool,
        mesh=mesh,
    )
    return Run(phases, traces, mesh)


@pytest.fixture(scope="module")
def unfrozen() -> tuple[Run, list[Any]]:
    run = make_run(unfreezing=UNFREEZING)
    return run, list(run.steps(run.start()))


def joins(path: str) -> int:
    return next(step for prefix, step in JOINS.items() if path.startswith(prefix))


def test_a_part_moves_from_its_step_on_and_is_bit_identical_before(unfrozen):
    before = flat(make_params())
    for number, (state, _) in enumerate(unfrozen[1]):
        for path, value in flat(state.params).items():
            moved = not np.array_equal(value, before[path])
            assert moved == (number >= joins(path)), (number, path)
        before = flat(state.params)


def test_every_part_takes_adams_first_step_when_it_joins_at_the_schedules_rate(unfrozen):
    """Bias correction counts from the joining, the schedule from the start; rates by depth."""
    expected = {path: np.asarray(value, np.float64) for path, value in flat(make_params()).items()}
    moments = dict.fromkeys(expected, (0.0, 0.0))
    for number, (state, metrics) in enumerate(unfrozen[1]):
        rate = RATE * (1 - number / NUM_STEPS)
        assert metrics["learning_rate"] == pytest.approx(rate)
        for path, value in expected.items():
            updates = number - joins(path) + 1
            if updates < 1:
                continue
            gradient = (1.0 + number / 4) ** 2 * value
            first, second = moments[path]
            first, second = 0.9 * first + 0.1 * gradient, 0.9 * second + 0.1 * gradient**2
            moments[path] = first, second
            scale = np.sqrt(second / (1 - 0.9**updates)) + 1e-3
            step = first / (1 - 0.9**updates) / scale + DECAY * is_decayed(path) * value
            factor = next((f for p, f in FACTORS.items() if path.startswith(p)), 0.125)
            expected[path] = value - rate * factor * step
        for path, value in flat(state.params).items():
            np.testing.assert_allclose(value, expected[path], rtol=2e-6, atol=2e-6)


def test_every_phase_is_compiled_once_and_only_when_it_is_run(unfrozen):
    run, _ = unfrozen
    assert len(run.phases) == len(run.traces) == 4
    again = make_run(unfreezing=UNFREEZING)
    list(again.steps(again.start(), stop=3))
    assert len(again.traces) == 2


def test_the_state_grows_with_what_is_trained_and_keeps_what_it_was(unfrozen):
    run, rows = unfrozen
    for number in range(1, NUM_STEPS):
        state, before = (flat(rows[n][0].opt_state) for n in (number, number - 1))
        held = {path for path in flat(make_params()) if any(p.endswith(path) for p in state)}
        assert held == {path for path in flat(make_params()) if joins(path) <= number}
        assert {*before} <= {*state}
    start = rows[2][0]
    after = entered(run.phases[2], jax.device_put(start, jax.devices()[0]))
    kept, held = flat(after.opt_state), flat(start.opt_state)
    for path, leaf in kept.items():
        np.testing.assert_array_equal(leaf, held.get(path, np.zeros_like(leaf)))
    assert len(kept) > len(held)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_state_goes_on_to_the_same_end_from_before_on_and_after_a_boundary(unfrozen, stop):
    run, rows = unfrozen
    assert phase_of_state(run.phases, stop) is run.phases[[0, 0, 0, 1, 2, 2][stop]]
    target = phase_of_state(run.phases, stop).state
    restored = jax.tree.map(
        lambda leaf, place: jax.device_put(leaf, place.sharding), rows[stop - 1][0], target
    )
    (last, _), (expected, _) = [*run.steps(restored)][-1], rows[-1]
    jax.tree.map(np.testing.assert_array_equal, last, expected)


def test_a_mesh_that_splits_parameters_and_moments_changes_nothing(unfrozen):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    step = {"shard_optimizer": True}
    run = make_run(mesh, unfreezing=UNFREEZING, step=step)
    state = new_state(make_params(), run.phases[0].optimizer, mesh, shard_optimizer=True)
    # One boundary: every phase is a compilation.
    (last, _), (expected, _) = [*run.steps(state, stop=3)][-1], unfrozen[1][2]
    for one, other in zip(jax.tree.leaves(last), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_muon_carries_its_state_over_too():
    run = make_run(unfreezing=UNFREEZING, optimizer={"kind": "muon"})
    before = flat(make_params())
    for number, (state, _) in enumerate(run.steps(run.start(), stop=3)):
        for path, value in flat(state.params).items():
            assert np.array_equal(value, before[path]) == (number < joins(path)), (number, path)
        before = flat(state.params)
    counts = [int(count) for _, count in optax.tree.get_all_with_path(state.opt_state, "count")]
    assert {*counts} == {3 - 0, 3 - 2}
