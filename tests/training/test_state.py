from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_bert import SIZES, one_device

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.state import TrainState, abstract_state, new_state

ENCODER = EncoderConfig(**SIZES)


@pytest.fixture(scope="module")
def params() -> Any:
    return init_params(ENCODER, Head("pretraining"), 0)


def adamw(params: Any) -> optax.GradientTransformation:
    config = AdamW(freeze=("token_type", "encoder/layers/0"))
    return make_optimizer(config, optax.constant_schedule(1e-4), params)


@pytest.fixture(scope="module")
def state(params: Any) -> TrainState:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    return new_state(params, adamw(params), mesh)


def test_a_new_state_is_at_step_zero_with_the_given_parameters(params: Any, state: TrainState):
    assert (int(state.step), state.step.dtype) == (0, jnp.int32)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_moments_lie_where_their_parameters_lie(state: TrainState):
    trained = {
        jax.tree_util.keystr(path): leaf.sharding
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
    }
    found = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state):
        name = jax.tree_util.keystr(path)
        parameter = next((p for p in trained if name.endswith(p)), None)
        if leaf.ndim == 0:
            assert leaf.sharding.is_fully_replicated
        else:
            assert parameter is not None, name
            assert leaf.sharding.is_equivalent_to(trained[parameter], leaf.ndim)
            found += 1
    # Two moments of all parameters but those frozen: 1 table and the 16 arrays of layer 0.
    assert found == 2 * (len(trained) - 17)


def test_an_abstract_state_says_shape_type_and_place(params: Any, state: TrainState):
    def compare(expected: jax.Array, found: jax.ShapeDtypeStruct) -> None:
        assert isinstance(found, jax.ShapeDtypeStruct)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.sharding == expected.sharding

    shapes, mesh = jax.eval_shape(lambda: params), state.step.sharding.mesh
    jax.tree.map(compare, state, abstract_state(shapes, adamw(shapes), mesh))


def test_donating_the_state_leaves_the_callers_parameters_alone(params: Any):
    mesh = one_device()
    params = jax.device_put(params, jax.NamedSharding(mesh, jax.P()))
    state = new_state(params, adamw(params), mesh)
    consume = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    consume(state)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
