"""The compiled steps of a run, one for every stage of unfreezing."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from jaxbert.experiment.settings import TrainingSettings
from jaxbert.optim.averaging import averaged
from jaxbert.optim.groups import FROZEN, group_labels
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import make_schedule
from jaxbert.optim.towards_start import Pull
from jaxbert.optim.unfreezing import Stage, stages
from jaxbert.tasks.task import Task
from jaxbert.training.flops import share_computed
from jaxbert.training.phases import TrainingPhase
from jaxbert.training.state import abstract_state
from jaxbert.training.step import jit_train_step, make_train_step
from jaxbert.typing import Params


def training_phases(
    settings: TrainingSettings,
    task: Task,
    apply: Callable[..., Any],
    params: Params,
    *,
    num_steps: int,
    ends_epoch: Callable[[int], bool],
    mesh: Mesh,
    fixed: tuple[Params, ...] = (),
    pull: Pull | None = None,
) -> tuple[TrainingPhase, ...]:
    """For abstract `params`, what is trained from when on: one phase, or more with unfreezing.

    `fixed`, abstract too: what the steps take after state and batch. `pull`: how strongly what is
    drawn to where it began.
    """
    schedule = make_schedule(settings.schedule, settings.optimizer.learning_rate, num_steps)
    frozen = group_labels(params, settings.optimizer.freeze, settings.optimizer.freeze_layers)
    shards = settings.step.shard_optimizer

    def phase(stage: Stage) -> TrainingPhase:
        optimizer = make_optimizer(settings.optimizer, schedule, params, stage.labels, pull)
        if settings.averaging is not None:
            optimizer = averaged(optimizer, settings.averaging, stage.labels)
        state = abstract_state(params, optimizer, mesh, shard_optimizer=shards)
        step = make_train_step(
            apply,
            task,
            optimizer,
            schedule,
            stage.labels,
            settings.step,
            settings.seed,
            mesh,
            settings.compute_dtype(),
        )
        sizes = jax.tree.map(lambda x, label: x.size * (label != FROZEN), params, stage.labels)
        num_trained = sum(jax.tree.leaves(sizes))
        compiled = jit_train_step(step, state, mesh, fixed)
        share = share_computed(stage.labels)
        return TrainingPhase(stage.first_step, optimizer, state, compiled, num_trained, share)

    return tuple(map(phase, stages(settings.unfreezing, frozen, num_steps, ends_epoch)))
