"""The average of the parameters of a trajectory, against its definition in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pydantic import TypeAdapter, ValidationError

from jaxbert.optim.averaging import AveragingConfig, averaged, averaged_params
from jaxbert.optim.groups import group_labels
from jaxbert.tree import flat

DRAWS = np.random.default_rng(0)
PARAMS = {
    "encoder": {"embeddings": {"word": {"embedding": DRAWS.normal(size=(7, 3))}}},
    "classifier": {"dense": {"kernel": DRAWS.normal(size=(3, 2)), "bias": np.zeros(2)}},
}
PARAMS = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)
STEPS = 40


def gradients(step: int) -> Any:
    draws = np.random.default_rng(step)
    return jax.tree.map(lambda x: jnp.asarray(draws.normal(size=x.shape), jnp.float32), PARAMS)


def trained(optimizer: optax.GradientTransformation) -> tuple[list[Any], Any]:
    """The parameters after every step, and the optimiser's state after the last."""

    @jax.jit
    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, state, seen = PARAMS, optimizer.init(PARAMS), []
    for number in range(STEPS):
        params, state = step(params, state, gradients(number))
        seen.append(params)
    return seen, state


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_the_average_is_that_of_the_definition(decay: float):
    seen, state = trained(averaged(optax.adam(0.05), AveragingConfig(decay)))
    weights = decay ** np.arange(STEPS - 1, -1, -1, dtype=np.float64)
    found = flat(averaged_params(seen[-1], state))
    for path, values in found.items():
        visited = np.stack([flat(params)[path] for params in seen]).astype(np.float64)
        expected = np.tensordot(weights, visited, 1) / weights.sum()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
        assert np.abs(expected - visited[-1]).max() > 1e-3


def test_the_optimiser_takes_the_steps_that_it_takes_without_an_average():
    plain, _ = trained(optax.adam(0.05))
    seen, state = trained(averaged(optax.adam(0.05), AveragingConfig(0.9)))
    jax.tree.map(np.testing.assert_array_equal, seen, plain)
    assert averaged_params(plain[-1], state.inner) is plain[-1]


def test_what_is_frozen_is_not_kept_twice():
    labels = group_labels(PARAMS, ("embeddings",))
    state = averaged(optax.sgd(0.1), AveragingConfig(0.9), labels).init(PARAMS)
    assert [*flat(state.average)] == ["classifier/dense/bias", "classifier/dense/kernel"]
    whole = averaged_params(PARAMS, state)
    jax.tree.map(np.testing.assert_array_equal, whole, PARAMS)


@pytest.mark.parametrize("decay", [0, 1, 1.5])
def test_a_decay_is_between_nothing_and_all(decay: float):
    with pytest.raises(ValidationError, match="decay"):
        TypeAdapter(AveragingConfig).validate_python({"decay": decay})
