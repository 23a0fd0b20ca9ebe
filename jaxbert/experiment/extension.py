"""A run that goes on with other steps ahead of it: those behind it must be what they were."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.errors import UserError
from jaxbert.experiment.pretraining_data import DataPhase
from jaxbert.experiment.run_files import checkpoint_steps
from jaxbert.optim.schedule import ScheduleConfig, make_schedule

AHEAD = ("num_steps", "phases", *(f"schedule.{field.name}" for field in fields(ScheduleConfig)))
"""Keys that say what the steps of a run are: it may go on with other values that keep the past."""


@dataclass(frozen=True)
class Steps:
    """What the steps of a pretraining run are."""

    num_steps: int
    phases: Sequence[DataPhase]
    """As `data_phases` gives them."""
    schedule: ScheduleConfig
    learning_rate: float
    metric: str | None = None
    """That ranks the evaluations, whose rows are cut for the last phase."""

    def rates(self, number: int) -> np.ndarray:
        """The learning rates of the first steps, float32."""
        schedule = make_schedule(self.schedule, self.learning_rate, self.num_steps)
        return np.broadcast_to(jax.vmap(schedule)(jnp.arange(number)), number)


def check_steps_taken(run: Path, taken: int, was: Steps, now: Steps) -> None:
    """Raises UserError where a run of the steps `now` would not have come to where this one is.

    What passes ends as a run that was to take the steps `now` from its start, bit for bit.
    """
    if was == now:
        return
    if now.num_steps < taken:
        raise UserError(f"{run} has taken {taken} steps already: num_steps={now.num_steps} is less")
    before, after = was.rates(taken), now.rates(taken)
    if (differ := np.flatnonzero(before != after)).size:
        step = int(differ[0])
        # Not rounded: where a long run is given a tenth more, they differ in the sixth digit.
        raise UserError(
            f"{run} has taken {taken} steps, and with this num_steps and schedule step {step + 1} "
            f"would have had the learning rate {after[step]!s}, where it had {before[step]!s}: "
            f"{_way_back(run, step)}; give a schedule that keeps those rates; or "
            f"{_another_run(run, step)}"
        )
    past, planned = ([p for p in steps.phases if p.first_step < taken] for steps in (was, now))
    if past != planned:
        raise UserError(f"{run} has taken {taken} steps: only later ones can be of other phases")
    if now.metric is not None and was.phases[-1].data != now.phases[-1].data:
        raise UserError(
            f"{run} is evaluated on rows that are cut for its last phase, and with these phases "
            f"they would have been others: what checkpoint.metric={now.metric} was until now could "
            "not be compared with what it will be; keep max_seq_length and max_predictions of the "
            f"last phase, or {_another_run(run, taken)}"
        )


def _way_back(run: Path, step: int) -> str:
    """From which checkpoint a run could go on of which only the first `step` steps were right."""
    usable = _at_most(run, step)
    if not usable:
        return f"it has no checkpoint of at most {step} steps (checkpoint.keep_every keeps some)"
    return f"remove its checkpoints of more than {step} steps, to go on from that of {usable[-1]}"


def _another_run(run: Path, step: int) -> str:
    """How another run begins with what this one has learnt in at most `step` steps, or in all."""
    if usable := _at_most(run, step):
        command = f"jaxbert convert {run} DEST --step {usable[-1]}"
        return f"begin another run with model.from_pretrained=DEST of `{command}`"
    return f"begin another run with model.from_pretrained={run}"


def _at_most(run: Path, step: int) -> list[int]:
    """The checkpoints of at most so many steps."""
    return [saved for saved in checkpoint_steps(run) if saved <= step]
