"""Other ways to run the same updates: which is the fastest that fits?"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from jaxbert.config import parse_config, to_values
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan.report import Plan

Overrides = tuple[str, ...]
Compiled = Callable[[Pretrain | Finetune], Plan]

_RUNGS = (
    *((1, "none"), (1, "attention"), (1, "products"), (2, "none"), (2, "products")),
    *((1, "full"), (4, "none"), (4, "products"), (8, "none")),
)

LADDER: tuple[Overrides, ...] = tuple(
    (f"step.accumulation_steps={n}", f"execution.remat={remat}") for n, remat in _RUNGS
)
"""Rows that a device has at a time, and what it computes again: ever less memory."""

MESHES: tuple[tuple[Overrides, ...], ...] = (
    (
        ("mesh.data=-1", "mesh.fsdp=1", "mesh.tensor=1"),
        ("mesh.data=-1", "mesh.fsdp=auto", "mesh.tensor=1"),
    ),
    # For fewer rows than devices.
    tuple(("mesh.data=-1", "mesh.fsdp=1", f"mesh.tensor={n}") for n in (2, 4, 8)),
    (("step.shard_optimizer=false",), ("step.shard_optimizer=true",)),
)
"""How state and work are split over several devices."""

KERNELS = {name: (f"execution.attention={name}",) for name in ("fused", "splash", "xla")}
"""A kernel is refused where it cannot do what the model does."""


@dataclass(frozen=True)
class Trial:
    """A plan, and how its configuration differs from the one given."""

    overrides: Overrides
    """Empty: as configured."""
    plan: Plan | None
    refusal: str = ""
    """Why there is no plan."""

    @property
    def fits(self) -> bool:
        """There is a plan, and it does."""
        return self.plan is not None and self.plan.fits

    @property
    def rank(self) -> tuple[int, float]:
        """The fastest that fits has the lowest; what fits and has no time comes after those."""
        if self.plan is None or not self.plan.fits:
            return 2 if self.plan is None else 1, 0.0
        if (hours := self.plan.totals.get("hours")) is not None:
            return 0, hours.value
        speed = self.plan.tokens_per_second
        return 0, 1 / speed if speed else float("inf")


def search(
    config: Pretrain | Finetune, compiled: Compiled, say: Callable[[str], None] = lambda line: None
) -> Iterator[Trial]:
    """Trials, each as soon as it is compiled; every choice goes on from the best before it.

    Of a choice the values are tried in order, until one fits and is slower than the best so far:
    what saves memory costs time, and more of it more. Raises UserError where nothing that was
    tried can be compiled.
    """
    tries = _Tries(config, compiled, say)
    yield tries.best
    yield from tries.choice(LADDER)
    for mesh in MESHES:
        # Known by now, unless all was refused.
        if tries.best.plan is None or tries.best.plan.num_devices > 1:
            yield from tries.choice(mesh, is_eased=True)
    auto = _kernel_of_auto(config, tries.best)
    for name, values in KERNELS.items():
        if name != auto:
            yield from tries.choice([values], is_eased=True)
    if tries.best.plan is None:
        raise UserError(tries.best.refusal)


def best_first(trials: Iterable[Trial]) -> list[Trial]:
    """The recommendation, and what it was compared with."""
    return sorted(trials, key=lambda trial: trial.rank)


def _kernel_of_auto(config: Pretrain | Finetune, trial: Trial) -> str | None:
    """What `auto` was in a compiled trial; None where it was not asked for, or is not known."""
    if config.execution.attention != "auto" or trial.plan is None:
        return None
    found = {_attention_of(phase.kernels) for phase in trial.plan.phases}
    is_known = all("step_time" in phase.figures for phase in trial.plan.phases)
    return found.pop() if is_known and len(found) == 1 else None


def _attention_of(kernels: Iterable[str]) -> str | None:
    """By the names of a program's kernels; None where there are several."""
    found = [name for name in KERNELS if any(kernel.startswith(name) for kernel in kernels)]
    return "xla" if not found else found[0] if len(found) == 1 else None


class _Tries:
    """Compiles configurations that differ from one, none of them twice; that one at once."""

    def __init__(self, config: Pretrain | Finetune, compiled: Compiled, say: Callable[[str], None]):
        self._config, self._compiled, self._say = config, compiled, say
        self._known: set[str] = set()
        self._parsed: dict[Overrides, Pretrain | Finetune] = {}
        self.best = self._tried(())

    def choice(self, choice: Iterable[Overrides], *, is_eased: bool = False) -> Iterator[Trial]:
        """Each value with the best so far; what fits also with less computed again (`is_eased`)."""
        base = self.best
        for values in choice:
            overrides, before = _joined(base.overrides, values), self.best
            if self._key(overrides) in self._known:
                continue
            trial = self._tried(overrides)
            yield trial
            if is_eased and trial.fits:
                yield from self._eased(overrides)
            is_same_refusal = trial.plan is None and trial.refusal == base.refusal
            if is_same_refusal or (trial.fits and self.best is before):
                return

    def _eased(self, overrides: Overrides) -> Iterator[Trial]:
        """Down the ladder, as long as it fits."""
        changed = self._changed(overrides)
        rung = (changed.step.accumulation_steps, changed.execution.remat)
        below = LADDER[: _RUNGS.index(rung)] if rung in _RUNGS else ()
        for values in reversed(below):
            easier = _joined(overrides, values)
            if self._key(easier) in self._known:
                continue
            trial = self._tried(easier)
            yield trial
            if not trial.fits:
                return

    def _tried(self, overrides: Overrides) -> Trial:
        self._known.add(self._key(overrides))
        words = " ".join(overrides) or "as configured"
        self._say(f"trial {len(self._known)}: {words}")
        try:
            trial = Trial(overrides, self._compiled(self._changed(overrides)))
        except UserError as error:
            trial = Trial(overrides, None, str(error))
        if not overrides or trial.rank < self.best.rank:
            self.best = trial
        return trial

    def _changed(self, overrides: Overrides) -> Pretrain | Finetune:
        if overrides not in self._parsed:
            values = to_values(self._config)
            self._parsed[overrides] = parse_config(type(self._config), values, overrides)
        return self._parsed[overrides]

    def _key(self, overrides: Overrides) -> str:
        return str(self._changed(overrides))


def _joined(base: Overrides, values: Overrides) -> Overrides:
    """Without what is overridden again."""
    keys = {value.partition("=")[0] for value in values}
    return (*(value for value in base if value.partition("=")[0] not in keys), *values)
