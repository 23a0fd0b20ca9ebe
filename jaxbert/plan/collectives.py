"""What the chips exchange in a step: kind, bytes and mesh axis."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxbert.plan.groups import axes_of, groups_of
from jaxbert.plan.hlo import Computation, Instruction, Program

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)


@dataclass(frozen=True)
class Collective:
    """All of one kind along the same axes, in one execution of the step."""

    kind: str
    axes: tuple[str, ...]
    count: float
    num_bytes: float
    """Of the arrays before they are split or after they are put together, on one chip."""
    sent_bytes: float
    """What a chip sends at least."""


def collectives_of(program: Program, mesh: Mapping[str, int]) -> list[Collective]:
    """Sorted by bytes, the most first; `mesh` gives the size of every axis in the mesh's order."""
    found: dict[tuple[str, tuple[str, ...]], Collective] = {}
    num_devices = 1
    for size in mesh.values():
        num_devices *= size
    for name, times in program.runs.items():
        computation = program.computations[name]
        for instruction in computation.values():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in KINDS:
                continue
            groups = groups_of(instruction.attributes, num_devices)
            if not groups.size:
                continue
            axes = axes_of(groups, mesh)
            if kind == "all-reduce" and name.startswith("all-reduce-scatter"):
                # How XLA:TPU writes a reduce-scatter: a fusion that keeps a part of an all-reduce.
                kind = "reduce-scatter"
            num_bytes = _payload(kind, computation, instruction, groups.shape[1])
            sent = num_bytes * _share(kind, groups.shape[1])
            before = found.get((kind, axes), Collective(kind, axes, 0, 0, 0))
            found[kind, axes] = Collective(
                kind,
                axes,
                before.count + times,
                before.num_bytes + times * num_bytes,
                before.sent_bytes + times * sent,
            )
    return sorted(found.values(), key=lambda each: -each.num_bytes)


def _payload(kind: str, computation: Computation, instruction: Instruction, size: int) -> float:
    # Not the result's type: an all-reduce to bfloat16 sends float32 where it is given that, and
    # rounds in the end (as its schedule shows).
    operands = [computation[name] for name in instruction.operands if name in computation]
    given = sum(shape.num_bytes for operand in operands for shape in operand.results)
    return given * size if kind == "all-gather" else given


def _share(kind: str, size: int) -> float:
    """Of the payload, what a chip must send (a ring; no algorithm sends less)."""
    if kind == "all-reduce":
        return 2 * (size - 1) / size
    return 1.0 if kind.startswith("collective") else (size - 1) / size
