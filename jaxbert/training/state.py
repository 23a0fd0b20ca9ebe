"""What a run carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxbert.parallel.rules import replicated, shardings
from jaxbert.typing import Array, Params


class TrainState(NamedTuple):
    """Everything that a checkpoint must hold; data and dropout follow from `step`."""

    step: Array
    """int32 scalar: updates done."""
    params: Params
    opt_state: Any


def new_state(params: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state before the first step, placed on the mesh."""

    def create(params: Params) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    placement = state_shardings(jax.eval_shape(create, params), mesh)
    params = jax.device_put(params, placement.params)
    return jax.jit(create, out_shardings=placement)(params)


def state_shardings(state: TrainState, mesh: Mesh) -> Any:
    """A TrainState of shardings, for a (possibly abstract) state."""
    return TrainState._make(
        (replicated(mesh), shardings(state.params, mesh), shardings(state.opt_state, mesh))
    )


def abstract_state(state: TrainState) -> TrainState:
    """Shapes, dtypes and shardings of a state: the target of a restore."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
