"""Other ways to run the same updates: which is the fastest that fits?"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxbert.config import parse_config, to_values
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan.report import Plan

Overrides = tuple[str, ...]

_LADDER = (
    *((1, "none"), (1, "products"), (2, "none"), (2, "products")),
    *((1, "full"), (4, "none"), (4, "products"), (8, "none")),
)

CHOICES: tuple[tuple[Overrides, ...], ...] = (
    # Rows that a chip has at a time, and what it computes again: ever less memory.
    tuple((f"step.accumulation_steps={n}", f"execution.remat={remat}") for n, remat in _LADDER),
    # How state and work are split.
    (
        ("mesh.data=-1", "mesh.fsdp=1", "mesh.tensor=1"),
        ("mesh.data=1", "mesh.fsdp=-1", "mesh.tensor=1"),
        ("mesh.data=-1", "mesh.fsdp=1", "mesh.tensor=2"),
    ),
    (("step.shard_optimizer=false",), ("step.shard_optimizer=true",)),
    # Splash is refused where it cannot do what the model does, and what `auto` means is known.
    (("execution.attention=splash",), ("execution.attention=xla",)),
)
"""Settings that change nothing of what is learnt, one choice after another."""


@dataclass(frozen=True)
class Trial:
    """A plan, and how its configuration differs from the one given."""

    overrides: Overrides
    """Empty: as configured."""
    plan: Plan | None
    refusal: str = ""
    """Why there is no plan."""

    @property
    def rank(self) -> tuple[bool, float]:
        """The fastest that fits has the lowest."""
        if self.plan is None or not self.plan.fits:
            return True, 0.0
        hours = self.plan.totals.get("hours")
        return False, -self.plan.tokens_per_second if hours is None else hours.value


def search(
    config: Pretrain | Finetune, compiled: Callable[[Pretrain | Finetune], Plan]
) -> list[Trial]:
    """Trials, the best first; each choice is tried with the best of those before it.

    Of a choice the values are tried in order, until one fits and is slower than the best so far:
    what saves memory costs time, and more of it more. Raises UserError where the
    configuration as it is can be compiled for no mesh.
    """
    trials = [_trial(config, (), compiled)]
    best, known = trials[0], {str(config): trials[0]}
    for choice in CHOICES:
        base = best.overrides
        for values in choice:
            overrides = _joined(base, values)
            changed = parse_config(type(config), to_values(config), overrides)
            if str(changed) in known:
                continue
            trial = known[str(changed)] = _trial(changed, overrides, compiled)
            trials.append(trial)
            if trial.rank < best.rank:
                best = trial
            elif trial.plan is not None and trial.plan.fits:
                break
    if all(trial.plan is None for trial in trials):
        raise UserError(trials[0].refusal)
    return sorted(trials, key=lambda trial: trial.rank)


def _trial(
    config: Pretrain | Finetune,
    overrides: Overrides,
    compiled: Callable[[Pretrain | Finetune], Plan],
) -> Trial:
    try:
        return Trial(overrides, compiled(config))
    except UserError as error:
        return Trial(overrides, None, str(error))


def _joined(base: Overrides, values: Overrides) -> Overrides:
    """Without what is overridden again."""
    keys = {value.partition("=")[0] for value in values}
    return (*(value for value in base if value.partition("=")[0] not in keys), *values)
