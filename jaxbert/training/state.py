"""What a run carries from step to step."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxbert.parallel.rules import put_whole, replicated, shardings
from jaxbert.typing import Array, Params


class TrainState(NamedTuple):
    """Everything that a checkpoint must hold; data and dropout follow from `step`."""

    step: Array
    """int32 scalar: updates done."""
    params: Params
    opt_state: Any


def new_state(params: Params, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state before the first step, placed on the mesh."""
    placement = jax.tree.map(lambda x: x.sharding, abstract_state(params, optimizer, mesh))
    params = jax.tree.map(put_whole, params, placement.params)
    return jax.jit(partial(_create, optimizer), out_shardings=placement)(params)


def abstract_state(
    params: Params, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Shapes, dtypes and shardings of `new_state`, nothing allocated: the target of a restore.

    `params` may be abstract.
    """
    shapes = jax.eval_shape(partial(_create, optimizer), params)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        state_shardings(shapes, mesh),
    )


def state_shardings(state: TrainState, mesh: Mesh) -> Any:
    """A TrainState of shardings, for a (possibly abstract) state."""
    return TrainState._make(
        (replicated(mesh), shardings(state.params, mesh), shardings(state.opt_state, mesh))
    )


def _create(optimizer: optax.GradientTransformation, params: Params) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
