"""What a run carries from step to step."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxbert.parallel.rules import put_whole, replicated, shardings, update_shardings
from jaxbert.typing import Array, Params


class TrainState(NamedTuple):
    """Everything that a checkpoint must hold; data and dropout follow from `step`."""

    step: Array
    """int32 scalar: updates done."""
    params: Params
    opt_state: Any


def new_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    shard_optimizer: bool = False,
) -> TrainState:
    """The state before the first step, placed on the mesh as `abstract_state` says."""
    target = abstract_state(params, optimizer, mesh, shard_optimizer=shard_optimizer)
    placement = jax.tree.map(lambda x: x.sharding, target)
    params = jax.tree.map(put_whole, params, placement.params)
    return jax.jit(partial(_create, optimizer), out_shardings=placement)(params)


def abstract_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    shard_optimizer: bool = False,
) -> TrainState:
    """Shapes, dtypes and shardings of a state, nothing allocated: the target of a restore.

    `shard_optimizer` splits the optimiser's state over `data` too. `params` may be abstract.
    """
    shapes = jax.eval_shape(partial(_create, optimizer), params)
    place = update_shardings if shard_optimizer else shardings
    placement = TrainState(
        replicated(mesh),  # type: ignore[arg-type]
        shardings(shapes.params, mesh),
        place(shapes.opt_state, mesh),
    )
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        placement,
    )


def _create(optimizer: optax.GradientTransformation, params: Params) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
