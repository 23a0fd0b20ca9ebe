"""What the devices exchange in a step: kind, bytes and mesh axis."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jaxbert.plan.groups import axes_of, groups_of
from jaxbert.plan.hlo import Computation, Instruction, Program

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all"),
    *("collective-permute", "collective-broadcast"),
)
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_CHAIN = re.compile(r'chain_id="(\w+)"')


@dataclass(frozen=True)
class Collective:
    """All of one kind along the same axes, in one execution of the step."""

    kind: str
    axes: tuple[str, ...]
    count: float
    num_bytes: float
    """Of the arrays before they are split or after they are put together, on one device."""
    sent_bytes: float
    """What a device sends at least."""


def collectives_of(program: Program, mesh: Mapping[str, int]) -> list[Collective]:
    """Sorted by bytes, the most first; `mesh` gives the size of every axis in the mesh's order."""
    found: dict[tuple[str, tuple[str, ...]], Collective] = {}
    for name, instruction, times in _exchanges(program):
        computation = program.computations[name]
        between = _BETWEEN_SLICES.search(instruction.attributes)
        if between is not None:
            kind, size = between[1].lower().replace("_", "-"), mesh["replica"]
            axes: tuple[str, ...] = ("replica",)
        else:
            groups = groups_of(instruction.attributes, math.prod(mesh.values()))
            if not groups.size:
                continue
            kind = instruction.opcode.removesuffix("-start")
            axes, size = axes_of(groups, mesh), groups.shape[1]
        if kind == "all-reduce" and name.startswith("all-reduce-scatter"):
            # How XLA:TPU writes a reduce-scatter: a fusion that keeps a part of an all-reduce.
            kind = "reduce-scatter"
        num_bytes = _payload(kind, computation, instruction, size)
        before = found.get((kind, axes), Collective(kind, axes, 0, 0, 0))
        found[kind, axes] = Collective(
            kind,
            axes,
            before.count + times,
            before.num_bytes + times * num_bytes,
            before.sent_bytes + times * num_bytes * _share(kind, size),
        )
    return sorted(found.values(), key=lambda each: -each.num_bytes)


def _exchanges(program: Program) -> Iterator[tuple[str, Instruction, float]]:
    """(computation, instruction, times); what hosts send to other slices is among them."""
    chains = set()
    for name, times in program.runs.items():
        for instruction in program.computations[name].values():
            if instruction.opcode == "send" and _BETWEEN_SLICES.search(instruction.attributes):
                yield name, instruction, times
            if instruction.opcode.removesuffix("-start") not in KINDS:
                continue
            # One that goes on beside several fusions is written in each of them.
            chain = _CHAIN.search(instruction.attributes)
            if chain is None or chain[1] not in chains:
                yield name, instruction, times
            if chain is not None:
                chains.add(chain[1])


def _payload(kind: str, computation: Computation, instruction: Instruction, size: int) -> float:
    # Not the result's type: an all-reduce to bfloat16 sends float32 where it is given that, and
    # rounds in the end (as its schedule shows).
    operands = [computation[name] for name in instruction.operands if name in computation]
    given = sum(shape.num_bytes for operand in operands for shape in operand.results)
    return given * size if kind == "all-gather" else given


def _share(kind: str, size: int) -> float:
    """Of the payload, what a device must send (a ring; no algorithm sends less)."""
    if kind == "all-reduce":
        return 2 * (size - 1) / size
    return 1.0 if kind.startswith("collective") else (size - 1) / size
