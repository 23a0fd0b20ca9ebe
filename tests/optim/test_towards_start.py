"""The pull towards the start, by AdamW's formula in float64, for every optimiser, and split."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optim.test_optimizer import make_gradients, make_params

from jaxbert.experiment.regularisation import RegularisationConfig
from jaxbert.optim.groups import FROZEN, TRAINED
from jaxbert.optim.kinds import Adafactor, AdamW, Lamb, Lion, Muon, OptimizerConfig
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.phases import TrainingPhase, entered
from jaxbert.training.state import abstract_state, new_state
from jaxbert.tree import flat

RATE, STRENGTH, STEPS = 0.01, 0.7, 4
PULL = RegularisationConfig(towards_start=STRENGTH).pull(())
FACTORS = {"pooler": 1.0, "encoder/layers/1": 0.5, "encoder/layers/0": 0.25}


def optimizer_of(
    config: OptimizerConfig, params: Any, begun: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    pull = RegularisationConfig(towards_start=STRENGTH).pull(begun)
    return make_optimizer(config, optax.constant_schedule(RATE), params, pull=pull)


def defined(config: AdamW, path: str, value: Any, gradients: list[Any], pull: float) -> np.ndarray:
    """Of one parameter in float64: decay, where there is any, is towards where it began."""
    factor = next((f for prefix, f in FACTORS.items() if path.startswith(prefix)), 0.125)
    decay = 0.0 if pull or path.endswith(("bias", "scale")) else config.weight_decay
    start = value = np.asarray(value, np.float64)
    first, second = np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients, 1):
        gradient = np.asarray(gradient, np.float64)
        first = config.b1 * first + (1 - config.b1) * gradient
        second = config.b2 * second + (1 - config.b2) * gradient**2
        mean, square = first / (1 - config.b1**step), second / (1 - config.b2**step)
        direction = mean / (np.sqrt(square) + config.eps)
        value = value - RATE * factor * (direction + decay * value + pull * (value - start))
    return value


def test_the_encoder_is_drawn_to_its_start_and_the_head_decays():
    config = AdamW(RATE, layer_decay=0.5, weight_decay=0.3, max_grad_norm=None)
    params = make_params()
    gradients = [make_gradients(params, seed) for seed in range(STEPS)]
    # A layer that begins anew is drawn to nothing, and decays as ever.
    optimizer, found = optimizer_of(config, params, ("encoder/layers/1/",)), params
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, found)
        found = optax.apply_updates(found, updates)
    for path, value in flat(found).items():
        is_drawn = path.startswith("encoder/") and not path.startswith("encoder/layers/1/")
        pull = STRENGTH * is_drawn
        seen = [flat(gradient)[path] for gradient in gradients]
        expected = defined(config, path, flat(params)[path], seen, pull)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7, err_msg=path)


@pytest.mark.parametrize("config", [AdamW(), Adafactor(), Lamb(), Lion(), Muon()])
def test_without_gradients_every_optimizer_goes_back(config: OptimizerConfig):
    params = make_params()
    optimizer = optimizer_of(config, params)
    state = optimizer.init(params)
    moved = jax.tree.map(lambda x: x + 1.0, params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(zeros, state, moved)
    for path, update in flat(updates).items():
        if path.startswith("encoder/"):
            np.testing.assert_allclose(update, -RATE * STRENGTH, rtol=1e-5, err_msg=path)


def test_what_is_frozen_or_drawn_to_nothing_is_not_kept():
    params = make_params()
    config = AdamW(freeze=("encoder/embeddings",))
    state = optimizer_of(config, params).init(params)
    kept = [path for path in flat(state) if "/start/" in path]
    expected = [path for path in flat(params) if path.startswith("encoder/layers/")]
    assert [path.partition("/start/")[2] for path in kept] == expected


def test_what_is_trained_late_is_drawn_to_where_it_began():
    params, mesh = make_params(), make_mesh(MeshConfig(), jax.devices()[:1])
    labels = jax.tree.map(lambda _: TRAINED, params)
    first = labels | {"encoder": jax.tree.map(lambda _: FROZEN, labels["encoder"])}
    phases = []
    for step, stage in enumerate((first, labels)):
        optimizer = make_optimizer(AdamW(), optax.constant_schedule(RATE), params, stage, PULL)
        abstract = abstract_state(params, optimizer, mesh)
        phases.append(TrainingPhase(step, optimizer, abstract, None, 0))  # type: ignore[arg-type]
    state = new_state(params, phases[0].optimizer, mesh)
    assert not any("/start/" in path for path in flat(state.opt_state))
    updates, opt_state = phases[0].optimizer.update(params, state.opt_state, state.params)
    moved = optax.apply_updates(state.params, updates)
    entering = entered(phases[1], state._replace(params=moved, opt_state=opt_state))
    start = {p.partition("/start/")[2]: x for p, x in flat(entering.opt_state).items()}
    for path, value in flat(params).items():
        if path.startswith("encoder/"):
            np.testing.assert_array_equal(start[path], value)
        else:
            assert path not in start


@pytest.mark.parametrize("zero", [False, True])
def test_split_over_devices_it_is_that_of_one_device(zero: bool):
    draws = np.random.default_rng(0)

    def kernel() -> Any:
        return {"kernel": draws.normal(size=(8, 32)).astype(np.float32)}

    params = {
        "encoder": {"layers": {"0": {"mlp": {"up": kernel()}}}},
        "pooler": {"dense": kernel()},
    }
    gradients = jax.tree.map(lambda x: x[::-1].copy(), params)

    def after(mesh: Any, *, zero: bool = False) -> tuple[Any, Any]:
        optimizer = optimizer_of(AdamW(RATE), params)
        state = new_state(params, optimizer, mesh, shard_optimizer=zero)

        @jax.jit
        def step(params: Any, opt_state: Any) -> tuple[Any, Any]:
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        found, kept = state.params, state.opt_state
        for _ in range(3):
            found, kept = step(found, kept)
        [start] = [leaf for path, leaf in flat(state.opt_state).items() if "/start/" in path]
        return jax.device_get(found), start

    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    found, start = after(mesh, zero=zero)
    expected, _ = after(make_mesh(MeshConfig(), jax.devices()[:1]))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), found, expected)
    assert "fsdp" in str(start.sharding.spec)
    assert ("data" in str(start.sharding.spec)) == zero
