"""One trajectory with dropout on one device, on eight, and with the parameters split."""

import re
from collections import Counter
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from small_bert import SIZES, make_training, one_device, pretraining_batch

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import shardings
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.training.state import TrainState
from jaxbert.training.step import StepConfig, gathering, jit_evaluation_step, make_evaluation_step

ENCODER = EncoderConfig(**SIZES)
TASK = MaskedLanguageModelling()
NUM_STEPS = 4
COMPILED = "/jax/core/compile/backend_compile_duration"


class Run(NamedTuple):
    losses: np.ndarray
    compilations: list[int]
    """Programs that were compiled during every step."""
    state: TrainState
    """On its devices."""


def run_on(mesh: Any, *, shard_optimizer: bool = False) -> Run:
    assert ENCODER.hidden_dropout_prob == ENCODER.attention_probs_dropout_prob == 0.1
    training = make_training(
        ENCODER,
        TASK,
        init_params(ENCODER, TASK.head, 0),
        NUM_STEPS,
        optimizer=AdamW(2e-3),
        schedule=ScheduleConfig("linear", warmup_steps=2),
        step=StepConfig(dropout_rng="threefry2x32", shard_optimizer=shard_optimizer),
        mesh=mesh,
    )
    compiled: list[str] = []
    listener = lambda event, seconds, **details: compiled.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    state, losses, counts = training.state, [], []
    for number in range(NUM_STEPS):
        state, metrics = training.step(state, training.put(pretraining_batch(number)))
        losses.append(float(metrics["loss"]))
        counts.append(compiled.count(COMPILED))
    jax.monitoring.unregister_event_duration_listener(listener)
    return Run(np.array(losses), list(np.diff(counts, prepend=0)), state)


@pytest.fixture(scope="module")
def single() -> Run:
    return run_on(one_device())


@pytest.fixture(scope="module", params=["data=8", "data=2,fsdp=2,tensor=2", "data=4,fsdp=2,zero"])
def split(request: pytest.FixtureRequest) -> Run:
    sizes = dict(part.split("=") for part in request.param.split(",") if "=" in part)
    mesh = make_mesh(MeshConfig(**{axis: int(size) for axis, size in sizes.items()}))
    return run_on(mesh, shard_optimizer="zero" in request.param)


def test_the_losses_are_those_of_one_device(single: Run, split: Run):
    assert len(split.state.step.sharding.device_set) == 8
    assert np.abs(split.losses - single.losses).max() <= 1e-5


def test_the_parameters_are_those_of_one_device(single: Run, split: Run):
    def compare(one: jax.Array, other: jax.Array) -> None:
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), rtol=0, atol=1e-5)

    jax.tree.map(compare, single.state.params, split.state.params)


def test_nothing_is_compiled_after_the_first_step(single: Run, split: Run):
    for run in (single, split):
        assert run.compilations[0] >= 1
        assert run.compilations[1:] == [0] * (NUM_STEPS - 1)


def shard_shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.addressable_shards[0].data.shape, tree)


@pytest.mark.parametrize("split", ["data=2,fsdp=2,tensor=2"], indirect=True)
def test_parameters_and_moments_are_really_split_and_stay_so(split: Run):
    shapes = shard_shapes(split.state.params)
    layer = shapes["encoder"]["layers"]["1"]
    assert shapes["encoder"]["embeddings"]["word"]["embedding"] == (128, 12)
    assert shapes["masked_lm"]["bias"] == (128,)
    assert layer["attention"]["query"] == {"kernel": (12, 12), "bias": (12,)}
    assert layer["attention"]["output"] == {"kernel": (12, 12), "bias": (24,)}
    assert layer["mlp"]["up"] == {"kernel": (12, 18), "bias": (18,)}
    assert layer["mlp"]["down"] == {"kernel": (18, 12), "bias": (24,)}
    assert layer["mlp_norm"] == {"scale": (24,), "bias": (24,)}
    moments = [leaf for leaf in jax.tree.leaves(split.state.opt_state) if leaf.ndim]
    held = sum(leaf.addressable_shards[0].data.size for leaf in moments)
    # The matrices four ways, which are nearly all of the moments; norms and some biases not.
    assert held < 0.32 * sum(leaf.size for leaf in moments)


@pytest.mark.parametrize("split", ["data=4,fsdp=2,zero"], indirect=True)
def test_every_device_holds_an_eighth_of_the_moments(split: Run):
    moments = [leaf for leaf in jax.tree.leaves(split.state.opt_state) if leaf.ndim]
    held = sum(leaf.addressable_shards[0].data.size for leaf in moments)
    whole = sum(leaf.size for leaf in moments)
    # Biases and norms that do not divide stay whole.
    assert whole / 8 <= held < 1.1 * whole / 8
    devices = split.state.params["encoder"]["layers"]["1"]["mlp"]["up"]["bias"].sharding
    assert devices.is_fully_replicated


def test_devices_exchange_split_parameters_and_not_activations():
    mesh = make_mesh(MeshConfig(data=1, fsdp=8))
    params = init_params(ENCODER, TASK.head, 0)
    params = jax.device_put(params, shardings(params, mesh))
    apply = gathering(make_apply(ENCODER, TASK.head), mesh)
    step = jit_evaluation_step(make_evaluation_step(apply, TASK), params, mesh)
    text = step.lower(params, pretraining_batch(0)).compile().as_text()
    found = Counter(re.findall(r" (all-gather|all-reduce|all-to-all|collective-permute)\(", text))
    num_split = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(params))
    assert 0 < found["all-gather"] <= num_split
    # The sums of losses and metrics; left to itself, XLA reduces in every layer (17 times).
    assert found["all-reduce"] <= 2
    assert found["all-to-all"] == found["collective-permute"] == 0
