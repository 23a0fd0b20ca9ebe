"""Steps that keep an average of the parameters: split over devices, in microbatches, cut short."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from small_bert import (
    SIZES,
    WITHOUT_DROPOUT,
    Training,
    make_training,
    one_device,
    pretraining_batch,
)

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.optim.averaging import AveragingConfig, averaged_params
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.training.step import StepConfig
from jaxbert.tree import flat

ENCODER = EncoderConfig(**SIZES | WITHOUT_DROPOUT | {"num_hidden_layers": 1})
TASK = MaskedLanguageModelling()
NUM_STEPS, DECAY = 4, 0.6
COMPILED = "/jax/core/compile/backend_compile_duration"


def training(mesh: Any = None, **step: Any) -> Training:
    return make_training(
        ENCODER,
        TASK,
        init_params(ENCODER, TASK.head, 0),
        NUM_STEPS,
        optimizer=AdamW(2e-3, freeze=("token_type",)),
        schedule=ScheduleConfig("constant"),
        step=StepConfig(dropout_rng="threefry2x32", nonfinite="skip", **step),
        mesh=mesh,
        averaging=AveragingConfig(DECAY),
    )


class Averaged(NamedTuple):
    params: list[Any]
    """After every step."""
    average: Any
    compilations: list[int]
    state: Any


def run_on(made: Training, parts: int = 1, batches: Any = None) -> Averaged:
    compiled: list[str] = []
    listener = lambda event, seconds, **details: compiled.append(event)  # noqa: E731
    state, params, counts = made.state, [], []
    for batch in batches or map(pretraining_batch, range(NUM_STEPS)):
        placed = made.put(batch, parts)
        jax.monitoring.register_event_duration_secs_listener(listener)
        state, _ = made.step(state, placed)
        jax.monitoring.unregister_event_duration_listener(listener)
        counts.append(compiled.count(COMPILED))
        params.append(jax.device_get(state.params))
    average = averaged_params(state.params, state.opt_state)
    return Averaged(params, average, [*np.diff(counts, prepend=0)], state)


@pytest.fixture(scope="module")
def single() -> Averaged:
    return run_on(training(one_device()))


def defined(params: list[Any]) -> Any:
    weights = DECAY ** np.arange(len(params) - 1, -1, -1, dtype=np.float64)
    weights /= weights.sum()
    return jax.tree.map(lambda *seen: sum(map(np.multiply, weights, seen)), *params)


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), y, rtol=0, atol=tolerance),
        found,
        expected,
    )


def test_the_average_is_that_of_the_parameters_of_all_steps(single: Averaged):
    assert_close(single.average, defined(single.params), 1e-6)


@pytest.mark.parametrize("zero", [False, True])
def test_split_over_devices_it_is_that_of_one_device(single: Averaged, zero: bool):
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    split = run_on(training(mesh, shard_optimizer=zero))
    assert_close(split.average, single.average, 1e-5)
    assert split.compilations[0] >= 1
    assert split.compilations[1:] == [0] * (NUM_STEPS - 1)
    places = {path: x.sharding.spec for path, x in flat(split.state.params).items()}
    held = {path: x.sharding.spec for path, x in flat(split.state.opt_state.average).items()}
    assert places.keys() - held.keys() == {"encoder/embeddings/token_type/embedding"}
    kernel = "encoder/layers/0/mlp/up/kernel"
    assert "fsdp" in places[kernel]
    if not zero:
        assert all(places[path] == spec for path, spec in held.items())
    else:
        assert "data" in str(held[kernel])
        assert "data" not in str(places[kernel])


def test_microbatches_are_one_update_of_the_average(single: Averaged):
    halves = run_on(training(accumulation_steps=2), parts=2)
    assert_close(halves.average, defined(halves.params), 1e-6)
    assert int(halves.state.opt_state.num_updates) == NUM_STEPS


def test_an_update_that_is_left_out_leaves_the_average_alone():
    made = training()
    made.state.params["masked_lm"]["bias"] = made.state.params["masked_lm"]["bias"] + np.inf
    before = jax.device_get(averaged_params(made.state.params, made.state.opt_state))
    after = run_on(made, batches=[pretraining_batch(0)])
    assert int(after.state.opt_state.num_updates) == 0
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after.average), before)
