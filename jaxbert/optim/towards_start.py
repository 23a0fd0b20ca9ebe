"""A pull towards the parameters that training began with (Li et al. 2018, L2-SP), decoupled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxbert.tree import flat, map_with_path
from jaxbert.typing import Array, Params

Pull = Callable[[str], float]
"""Path -> how strongly a parameter is drawn to where it began; 0: not at all."""


class StartState(NamedTuple):
    """What is drawn, as it was."""

    start: Params
    """`optax.MaskedNode` in the place of what is not drawn."""


def towards_start(pull: Pull) -> optax.GradientTransformation:
    """Adds to every update what its parameter has moved, times the pull of its path."""

    def begun(path: str, parameter: Array) -> Any:
        # A copy, for a step that is given both to write into.
        return jnp.copy(parameter) if pull(path) else optax.MaskedNode()

    def init(params: Params) -> StartState:
        return StartState(map_with_path(begun, params))

    def update(
        updates: Any, state: StartState, params: Params | None = None
    ) -> tuple[Any, StartState]:
        held = flat(state.start)

        def add(path: str, update: Array, parameter: Array) -> Array:
            return update + pull(path) * (parameter - held[path]) if path in held else update

        return map_with_path(add, updates, params), state

    return optax.GradientTransformation(init, update)
