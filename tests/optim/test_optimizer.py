"""AdamW by groups, against its formula in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.tree import map_with_path, paths

RATE = 0.01


def make_params() -> Any:
    """Two layers, one decayed and one undecayed parameter in every group."""
    draws = np.random.default_rng(0)

    def pair(name: str) -> Any:
        shapes = {"kernel": (3, 2), "bias": (2,)}
        return {name: {leaf: jnp.asarray(draws.normal(size=s)) for leaf, s in shapes.items()}}

    return {
        "encoder": {
            "embeddings": {"word": {"embedding": jnp.ones((4, 2))}, "norm": {"scale": jnp.ones(2)}},
            "layers": {str(layer): {"mlp": pair("up")} for layer in range(2)},
        },
        "pooler": pair("dense"),
    }


def make_gradients(params: Any, seed: int) -> Any:
    draws = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(draws.normal(size=x.shape)), params)


def run(config: AdamW, params: Any, gradients: list[Any]) -> tuple[Any, Any]:
    optimizer = make_optimizer(config, optax.constant_schedule(RATE), params)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = jax.jit(optimizer.update)(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def adamw(config: AdamW, path: str, value: Any, gradients: list[Any]) -> np.ndarray:
    """Loshchilov and Hutter 2019, algorithm 2, for one parameter."""
    group = {"pooler": 1.0, "encoder/layers/1": 0.5, "encoder/layers/0": 0.25}
    factor = next((f for prefix, f in group.items() if path.startswith(prefix)), 0.125)
    factor = factor if config.layer_decay == 0.5 else 1.0
    decay = 0.0 if path.endswith(("bias", "scale")) else config.weight_decay
    value, first, second = np.asarray(value, np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        gradient = np.asarray(gradient, np.float64)
        first = config.b1 * first + (1 - config.b1) * gradient
        second = config.b2 * second + (1 - config.b2) * gradient**2
        direction = (first / (1 - config.b1**step)) / (
            np.sqrt(second / (1 - config.b2**step)) + config.eps
        )
        value = value - RATE * factor * (direction + decay * value)
    return value


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_every_group_takes_the_steps_of_adamw(layer_decay: float):
    config = AdamW(
        b1=0.8, b2=0.9, eps=1e-2, weight_decay=0.3, max_grad_norm=None, layer_decay=layer_decay
    )
    params = make_params()
    gradients = [make_gradients(params, seed) for seed in range(4)]
    found, _ = run(config, params, gradients)
    expected = map_with_path(
        lambda path, value, *gradient: adamw(config, path, value, list(gradient)),
        params,
        *gradients,
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), found, expected)


def test_gradients_are_clipped_to_their_global_norm():
    params = make_params()
    gradients = make_gradients(params, 0)
    norm = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(gradients)))
    _, state = run(AdamW(max_grad_norm=0.5), params, [gradients])
    # Adam's first moment is a tenth of the gradient that it was given.
    clipped = {path: 10 * moment for path, moment in moments(state).items()}
    for path, gradient in zip(paths(params), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(clipped[path], gradient * 0.5 / norm, rtol=1e-5)


def test_a_gradient_below_the_norm_is_left_alone():
    params = make_params()
    gradients = make_gradients(params, 0)
    _, small = run(AdamW(max_grad_norm=1e3), params, [gradients])
    _, free = run(AdamW(max_grad_norm=None), params, [gradients])
    jax.tree.map(np.testing.assert_array_equal, moments(small), moments(free))


def moments(state: Any, name: str = "mu") -> dict[str, jax.Array]:
    """First (or second) moments of all groups by parameter path."""
    found = {}
    for _, tree in optax.tree.get_all_with_path(state, name):
        found |= dict(zip(paths(tree), jax.tree.leaves(tree), strict=True))
    return found


FREEZE = ("encoder/embeddings", "encoder/layers/0")


def test_frozen_parameters_hold_no_state_and_do_not_move():
    params = make_params()
    config = AdamW(weight_decay=0.5, freeze=FREEZE)
    after, state = run(config, params, [make_gradients(params, seed) for seed in range(3)])
    trained = {path for path in paths(params) if not path.startswith(FREEZE)}
    assert set(moments(state)) == set(moments(state, "nu")) == trained
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert len(arrays) == 2 * len(trained)
    before = dict(zip(paths(params), jax.tree.leaves(params), strict=True))
    for path, value in zip(paths(after), jax.tree.leaves(after), strict=True):
        assert np.array_equal(value, before[path]) == (path not in trained), path


def test_the_gradient_of_a_frozen_parameter_does_not_clip_the_others():
    params = make_params()
    gradients = make_gradients(params, 0)
    config = AdamW(max_grad_norm=0.5, freeze=FREEZE)
    _, expected = run(config, params, [gradients])
    gradients["encoder"]["embeddings"]["word"]["embedding"] *= 1e6
    _, found = run(config, params, [gradients])
    jax.tree.map(np.testing.assert_array_equal, moments(found), moments(expected))


@pytest.mark.parametrize("config", ["adamw", {"kind": "adamw"}, None, AdamW])
def test_the_name_of_an_optimiser_is_not_its_configuration(config: Any):
    with pytest.raises(UserError, match=r"^config is .*: expected an optimiser .* AdamW\("):
        make_optimizer(config, optax.constant_schedule(RATE), make_params())


def test_something_has_to_be_trained():
    with pytest.raises(UserError, match="all parameters are frozen"):
        make_optimizer(AdamW(freeze=(".*",)), optax.constant_schedule(RATE), make_params())


@pytest.mark.parametrize("options", [{"layer_decay": 0.9}, {"freeze_layers": "all"}])
def test_what_goes_by_depth_is_refused_where_no_path_says_how_deep_it_is(options: dict[str, Any]):
    foreign = {"bert": {"layer_0": {"kernel": jnp.ones((2, 2))}}}
    [name] = options
    with pytest.raises(UserError, match=rf"optimizer\.{name}=.* the first one is 'bert/layer_0/k"):
        make_optimizer(AdamW(**options), optax.constant_schedule(RATE), foreign)
    make_optimizer(AdamW(**options), optax.constant_schedule(RATE), {"pair": make_params()})


def test_variables_of_nnx_are_called_as_their_arrays_are():
    """By `.../bias/value` biases and norms would be decayed, and `nnx.Optimizer` find no label."""
    config = AdamW(weight_decay=0.5, layer_decay=0.5, freeze=("embeddings/word",))
    params, gradient = make_params(), make_gradients(make_params(), 1)
    expected, _ = run(config, params, [gradient])

    class Holder(nnx.Module):
        def __init__(self) -> None:
            self.held = nnx.data(jax.tree.map(nnx.Param, params))

    holder, schedule = Holder(), optax.constant_schedule(RATE)
    variables = nnx.state(holder, nnx.Param)
    assert [path.removeprefix("held/") for path in paths(variables)] == paths(params)
    slopes = jax.tree.unflatten(jax.tree.structure(variables), jax.tree.leaves(gradient))
    optimizer = nnx.Optimizer(holder, make_optimizer(config, schedule, variables), wrt=nnx.Param)
    optimizer.update(holder, slopes)
    found = jax.tree.leaves(nnx.state(holder, nnx.Param))
    for own, other in zip(found, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)
