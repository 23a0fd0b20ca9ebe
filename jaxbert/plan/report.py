"""What `jaxbert plan` says: figures that each know how they were obtained."""

import math
from dataclasses import dataclass, field

from jaxbert.plan.collectives import Collective
from jaxbert.plan.sources import Operation

HOW = {
    "collectives": "the compiled text, loops as often as they run; bytes of the whole arrays, and "
    "what a device sends of them at least",
    "most_expensive": "estimated_cycles, of Pallas kernels kernel_cycles, by the line of source "
    "code; without collectives and random bits",
}


@dataclass(frozen=True)
class Figure:
    """A number."""

    value: float
    unit: str
    """bytes, flops, cycles, seconds, share, tokens/s, hours or money."""
    how: str
    """Where it comes from."""


@dataclass(frozen=True)
class PhaseReport:
    """The compiled step of one phase; figures are of a device and a step unless they say more."""

    first_step: int
    num_steps: int | None
    batch_size: int
    """Rows per update, over all chips."""
    rows: int
    """Of one device and microbatch."""
    tokens: int
    """Places of a row."""
    mesh: dict[str, int]
    fits: bool
    figures: dict[str, Figure] = field(default_factory=dict)
    collectives: list[Collective] = field(default_factory=list)
    most_expensive: list[Operation] = field(default_factory=list)
    kernels: list[str] = field(default_factory=list)
    """Pallas kernels of the program, by name."""
    notes: list[str] = field(default_factory=list)
    """What is missing in the figures."""


@dataclass(frozen=True)
class Plan:
    """A run on a topology."""

    topology: str
    num_chips: int
    versions: dict[str, str]
    assumptions: list[str]
    phases: list[PhaseReport]
    totals: dict[str, Figure] = field(default_factory=dict)
    """Of all phases and chips."""
    how: dict[str, str] = field(default_factory=lambda: dict(HOW))
    """Where the entries of `collectives` and `most_expensive` come from."""

    @property
    def num_devices(self) -> int:
        """As many as there are chips, or twice as many."""
        return math.prod(self.phases[0].mesh.values())

    @property
    def fits(self) -> bool:
        """All phases do."""
        return all(phase.fits for phase in self.phases)

    @property
    def tokens_per_second(self) -> float:
        """Of the first phase; 0 where nothing is known."""
        found = self.phases[0].figures.get("tokens_per_second")
        return 0.0 if found is None else found.value
