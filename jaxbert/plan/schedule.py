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

_FILE = re.compile(r"\d+-([^<>]+)-\d+-final_bundles\.txt")
_BUNDLE = re.compile(r" *(?:0x)?[0-9a-f]+ (?:(\w\w)| *) *: ((?:> )*) *\{")
_EXIT = re.compile(r"= scmp\.ge\.\S+ (%\w+), (\d+) /\* loop exit test")
_INCREMENT = re.compile(r"(%\w+) = sadd\.s32 (\d+), ")
PALLAS = "tpu_custom_call"
"""How a Pallas kernel is called in a program."""


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
        is_pallas = _is_pallas(instruction)
        bundles = own.get(instruction.name)
        if bundles is None:
            bundles = alike.get(_likeness(program, computation, instruction))
        if bundles is not None:
            total += times * bundles
            if is_pallas:
                pallas += times * bundles
                kernels[instruction.name] = bundles
        elif is_pallas or instruction.opcode == "fusion":
            missing[is_pallas].append(instruction.name)
    unpriced = tuple(missing[True])
    return Schedule(total, pallas, kernels, (*missing[False], *unpriced), unpriced)


def bundles_of(text: str) -> float:
    """Bundles that a kernel issues, those of a loop as often as its exit test lets it turn.

    What a condition skips counts as run. Loops count from 0; one without a constant bound turns
    once.
    """
    steps = {name: int(step) for name, step in _INCREMENT.findall(text)}
    # Of the kernel itself and of every loop around the current line: bundles, and turns.
    open_loops = [[0.0, 1.0]]
    for line in text.splitlines():
        bundle = _BUNDLE.match(line)
        if bundle is None:
            continue
        depth = len(bundle[2]) // 2
        begins = bundle[1] == "LB"
        # A loop that is marked without a depth has no turns that could be read.
        while len(open_loops) > max(depth + (not begins), 1):
            bundles, turns = open_loops.pop()
            open_loops[-1][0] += bundles * turns
        while len(open_loops) <= depth:
            open_loops.append([0.0, 1.0])
        open_loops[-1][0] += 1
        for name, bound in _EXIT.findall(line):
            open_loops[-1][1] = math.ceil(int(bound) / steps.get(name, 1))
    while len(open_loops) > 1:
        bundles, turns = open_loops.pop()
        open_loops[-1][0] += bundles * turns
    return open_loops[0][0]


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
        tuple(instruction.op_name.split("/")[-2:]) if _is_pallas(instruction) else (),
        tuple((each.opcode, each.results) for each in inside),
    )


def _is_pallas(instruction: Instruction) -> bool:
    return f'custom_call_target="{PALLAS}"' in instruction.attributes
