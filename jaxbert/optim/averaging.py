"""An exponential moving average of the parameters, kept beside the optimiser's state."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Gt, Lt

from jaxbert.optim.groups import FROZEN
from jaxbert.options import check_options
from jaxbert.tree import flat, map_with_path
from jaxbert.typing import Array, Params


@dataclass(frozen=True)
class AveragingConfig:
    """The parameters that are evaluated and exported are an average over the updates so far."""

    decay: Annotated[float, Gt(0), Lt(1)]
    """What the average keeps of itself in an update, e.g. 0.999: it looks back some
    1 / (1 - decay) updates. Before there are so many it is nearly their plain mean."""

    def __post_init__(self) -> None:
        check_options(self)


class AveragedState(NamedTuple):
    """The state of an optimiser that averages."""

    inner: Any
    """Of the optimiser itself."""
    num_updates: Array
    """int32 scalar: how many are in the average."""
    average: Params
    """`optax.MaskedNode` in the place of what is frozen, which is its own average."""


def averaged(
    optimizer: optax.GradientTransformation, config: AveragingConfig, labels: Any = None
) -> optax.GradientTransformation:
    """`optimizer`, which keeps an average of the parameters that its updates lead to.

    After t updates that is the sum of decay^(t - i) theta_i over i = 1 ... t, divided by the sum of
    these weights: Kingma and Ba 2015, section 7.2, with its correction of the bias. `labels`: which
    parameters are FROZEN; None: none is. The last of all transformations, since it has to see what
    is added to the parameters in the end.
    """
    label_of = {} if labels is None else flat(labels)

    def begun(path: str, parameter: Array) -> Any:
        # A copy, for a step that is given both to write into.
        return optax.MaskedNode() if label_of.get(path) == FROZEN else jnp.copy(parameter)

    def init(params: Params) -> AveragedState:
        none = jnp.zeros((), jnp.int32)
        return AveragedState(optimizer.init(params), none, map_with_path(begun, params))

    def update(
        updates: Any, state: AveragedState, params: Params | None = None
    ) -> tuple[Any, AveragedState]:
        assert params is not None
        updates, inner = optimizer.update(updates, state.inner, params)
        number = optax.safe_increment(state.num_updates)
        # 1 - decay^t by expm1, as float32 has no more than three digits of 1 - 0.9999.
        weight = (config.decay - 1) / jnp.expm1(number * math.log(config.decay))

        # By the difference, unlike `optax.incremental_update`: what does not move stays as it is.
        def moved(average: Any, parameter: Array) -> Any:
            is_frozen = isinstance(average, optax.MaskedNode)
            return average if is_frozen else average + weight * (parameter - average)

        found = jax.tree.map(
            moved,
            state.average,
            optax.apply_updates(params, updates),
            is_leaf=lambda x: isinstance(x, optax.MaskedNode),
        )
        return updates, AveragedState(inner, number, found)

    return optax.GradientTransformation(init, update)


def averaged_params(params: Params, opt_state: Any) -> Params:
    """The average in the state of `averaged`; `params` themselves for any other optimiser.

    It lies on devices as the state of the optimiser does.
    """
    if not isinstance(opt_state, AveragedState):
        return params
    held = flat(opt_state.average)
    return map_with_path(lambda path, parameter: held.get(path, parameter), params)
