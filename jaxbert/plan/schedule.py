"""The static schedule of a program: instruction bundles of its kernels, as the compiler wrote them.

A core issues one bundle a cycle, so their number is what a kernel takes where nothing waits for
memory. Unlike the cost model's cycles it knows of Pallas kernels and of random bits.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from jaxbert.plan.collectives import KINDS
from jaxbert.plan.hlo import Computation, Instruction, Program
from jaxbert.plan.pallas import is_pallas

_GOES_ON = "async-collective-start", "async-collective-done"
"""Fusions that hold nothing but the two ends of an exchange beside other work."""
_FILE = re.compile(r"\d+-([^<>]+)-\d+-final_bundles\.txt")
_BUNDLE = re.compile(r" *(?:0x)?[0-9a-f]+ (?:(\w\w)| *) *: *((?:> ?)*) *\{(\})?")
_EXIT = re.compile(r"(%\w+) = scmp\.ge\.\S+ (%\w+), (\d+) /\* loop exit test")
_BRANCH = re.compile(r"= sbr\.rel \(!(%\w+)\)")
_INCREMENT = re.compile(r"(%\w+) = sadd\.s32 (\d+), ")


def schedule_flags(directory: str) -> str:
    """Settings for LIBTPU_INIT_ARGS, with which the compiler writes schedules to a directory."""
    return (
        f"--xla_jf_dump_to={directory} --xla_jf_dump_llo_text=true "
        "--xla_jf_dump_llo_pass_label_regex=final_bundles"
    )


@dataclass(frozen=True)
class Schedule:
    """Bundles that a core issues in one execution of a program, exchanges left out."""

    bundles: float
    pallas: float
    """Those of Pallas kernels among them."""
    kernels: dict[str, float]
    """Instruction -> bundles of one call, of every Pallas kernel."""
    missing: tuple[str, ...]
    """Fusions and kernels that were not written down, and count nothing."""
    missing_pallas: tuple[str, ...]


def schedule_of(program: Program, directory: Path) -> Schedule:
    """Of fusions and kernels, from what the compiler wrote with `schedule_flags`.

    It writes kernels that are alike only once: one without a file counts as those of the same
    operations, shapes and estimated cycles do.
    """
    own = _written(directory)
    alike = {
        _likeness(program, computation, instruction): own[instruction.name]
        for computation, instruction, _ in program.scheduled()
        if instruction.name in own
    }
    total, pallas, kernels = 0.0, 0.0, dict[str, float]()
    missing: dict[bool, list[str]] = {False: [], True: []}
    for computation, instruction, times in program.scheduled():
        if instruction.opcode.removesuffix("-start") in KINDS:
            continue
        if instruction.name.startswith(_GOES_ON):
            continue
        is_kernel = is_pallas(instruction)
        bundles = own.get(instruction.name)
        if bundles is None:
            bundles = alike.get(_likeness(program, computation, instruction))
        if bundles is not None:
            total += times * bundles
            if is_kernel:
                pallas += times * bundles
                kernels[instruction.name] = bundles
        elif is_kernel or instruction.opcode == "fusion":
            missing[is_kernel].append(instruction.name)
    unpriced = tuple(missing[True])
    return Schedule(total, pallas, kernels, (*missing[False], *unpriced), unpriced)


def bundles_of(text: str) -> float:
    """Bundles that a kernel issues, those of a loop as often as its exit test lets it turn.

    What a condition skips counts as run. Loops count from 0; one without a constant bound turns
    once. A bundle is marked with as many `>` as there are loops around it, but for empty ones and
    the branch back, which belong to the loop that they stand in, and a first one that holds nothing
    but a phi: the next says how deep it is.
    """
    steps = {name: int(step) for name, step in _INCREMENT.findall(text)}
    loops, unplaced = [_Loop()], 0
    for line in text.splitlines():
        bundle = _BUNDLE.match(line)
        if bundle is None:
            continue
        depth, begins = bundle[2].count(">"), bundle[1] == "LB"
        if begins and not depth:
            unplaced = 1
            continue
        if bundle[3] is None and loops[-1].test not in _BRANCH.findall(line):
            while len(loops) > max(depth + (not begins and not unplaced), 1):
                _close(loops)
            while len(loops) <= depth:
                loops.append(_Loop())
            loops[-1].bundles += unplaced
            unplaced = 0
        loops[-1].bundles += 1
        for test, counter, bound in _EXIT.findall(line):
            loops[-1].test = test
            loops[-1].turns = math.ceil(int(bound) / steps.get(counter, 1))
    while len(loops) > 1:
        _close(loops)
    return loops[0].bundles


@dataclass
class _Loop:
    """One that is being read; the outermost is the kernel itself."""

    bundles: float = 0.0
    turns: int = 1
    test: str = ""
    """What is true when it ends."""


def _close(loops: list[_Loop]) -> None:
    ended = loops.pop()
    loops[-1].bundles += ended.bundles * ended.turns


def _written(directory: Path) -> dict[str, float]:
    """Instruction -> bundles."""
    files = ((_FILE.fullmatch(path.name), path) for path in directory.glob("*final_bundles.txt"))
    return {
        found[1]: bundles_of(path.read_text(encoding="utf-8"))
        for found, path in files
        if found is not None and "-schedule-analysis" not in path.name
    }


def _likeness(program: Program, computation: Computation, instruction: Instruction) -> object:
    given = tuple(computation[name].results for name in instruction.operands if name in computation)
    inside = [each for name in instruction.called for each in program.computations[name].values()]
    return (
        instruction.opcode,
        instruction.estimated_cycles,
        instruction.results,
        given,
        # Of kernels, what they are called and whether they go forward.
        tuple(instruction.op_name.split("/")[-2:]) if is_pallas(instruction) else (),
        tuple((each.opcode, each.results) for each in inside),
    )
