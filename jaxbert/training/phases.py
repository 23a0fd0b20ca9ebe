"""Phases of a run: steps that one compiled program makes, and the state's way between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import optax

from jaxbert.training.state import TrainState
from jaxbert.training.step import TrainStep
from jaxbert.tree import flat, map_with_path


@dataclass(frozen=True)
class TrainingPhase:
    """From a step on these parameters are trained, by this program."""

    first_step: int
    """Updates done before."""
    optimizer: optax.GradientTransformation
    state: TrainState
    """Abstract: shapes, dtypes and places, the target of a restore."""
    step: TrainStep
    """Compiled when it is first called."""
    num_trained: int
    """How many numbers."""
    flops_share: float = 1.0
    """Of the FLOPs of a step that trains everything."""


def phase_at(phases: Sequence[TrainingPhase], step: int) -> TrainingPhase:
    """The phase that makes the update after `step` updates."""
    return [phase for phase in phases if phase.first_step <= step][-1]


def phase_of_state(phases: Sequence[TrainingPhase], step: int) -> TrainingPhase:
    """The phase that left the state after `step` updates: that of the last one."""
    return phase_at(phases, max(step - 1, 0))


def entered(phase: TrainingPhase, state: TrainState) -> TrainState:
    """The state that `phase` goes on with: what was trained keeps the optimiser's state that it
    has, what is new begins with a fresh one. `state` is given up.
    """
    places = jax.tree.map(lambda leaf: leaf.sharding, phase.state.opt_state)
    carry = jax.jit(partial(_carried, phase.optimizer), out_shardings=places, donate_argnums=1)
    return state._replace(opt_state=carry(state.params, state.opt_state))


def _carried(optimizer: optax.GradientTransformation, params: Any, old: Any) -> Any:
    fresh, held = optimizer.init(params), flat(old)
    assert {*held} <= {*flat(fresh)}, "what was trained must stay so, under the same names"
    return map_with_path(lambda path, leaf: held.get(path, leaf), fresh)
