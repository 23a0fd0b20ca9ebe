"""The lines of source code that the estimated cycles of a program go to."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jaxbert.plan.hlo import Instruction, Program
from jaxbert.plan.products import PRODUCTS

_PACKAGE = "/jaxbert/"
# It only compiles what these lines lead to.
_PLAN = "jaxbert/plan/"


@dataclass(frozen=True)
class Operation:
    """What one source line costs in one direction."""

    source: str
    """`jaxbert/nn/linear.py:39`; empty: the compiler does not say."""
    caller: str
    """`jaxbert/nn/mlp.py:31`, the line of another file that led there; empty: none is known."""
    pass_: str
    """forward, backward, or update (what is not part of the gradient)."""
    op_name: str
    """What JAX calls the most expensive one of them."""
    count: float
    cycles: float


@dataclass(frozen=True)
class StackFrames:
    """The tables at the head of the text: where an instruction's `stack_frame_id` leads."""

    text: str

    def source(self, instruction: Instruction) -> tuple[str, str]:
        """The innermost line of this package, or else of whatever there is; and its caller's."""
        lines = self._lines(instruction)
        own = [line for line in lines if line.startswith(_PACKAGE[1:]) and _PLAN not in line]
        source = (own or lines or [""])[0]
        outer = (line for line in own if _file(line) != _file(source))
        return source, next(outer, "")

    def _lines(self, instruction: Instruction) -> list[str]:
        """From the innermost outwards."""
        inline = re.search(r'source_file="([^"]*)" source_line=(\d+)', instruction.attributes)
        if inline is not None:
            return [_shown(inline.group(1), inline.group(2))]
        found = re.search(r"stack_frame_id=(\d+)", instruction.attributes)
        lines, frame = [], int(found.group(1)) if found else 0
        while frame in self._frames:
            location, parent = self._frames[frame]
            if location in self._locations:
                name, line = self._locations[location]
                lines.append(_shown(self._files.get(name, "?"), line))
            if parent >= frame:
                break
            frame = parent
        return lines

    @cached_property
    def _files(self) -> dict[str, str]:
        return dict(re.findall(r'^(\d+) "(.*)"$', self._table("FileNames"), re.MULTILINE))

    @cached_property
    def _locations(self) -> dict[str, tuple[str, str]]:
        pattern = r"^(\d+) \{file_name_id=(\d+) .*?line=(\d+)"
        found = re.findall(pattern, self._table("FileLocations"), re.MULTILINE)
        return {number: (name, line) for number, name, line in found}

    @cached_property
    def _frames(self) -> dict[int, tuple[str, int]]:
        pattern = r"^(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?"
        found = re.findall(pattern, self._table("StackFrames"), re.MULTILINE)
        frames = {int(n): (location, int(parent or 0)) for n, location, parent in found}
        # Some versions number parents from 1 where 1 is none: then the first is its own.
        shift = 1 if frames.get(1, ("", 0))[1] == 1 else 0
        return {n: (location, parent - shift) for n, (location, parent) in frames.items()}

    def _table(self, name: str) -> str:
        found = re.search(rf"^{name}\n(.*?)\n\n", self.text, re.MULTILINE | re.DOTALL)
        return "" if found is None else found.group(1)


def most_expensive(program: Program, kernels: Mapping[str, float], number: int) -> list[Operation]:
    """Source lines by the estimated cycles of the fusions that come from them.

    `kernels`: instruction -> cycles of those that the cost model says nothing of.
    """
    frames = StackFrames(program.text)
    totals: dict[tuple[str, str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for _, instruction, times in program.scheduled():
        cycles = kernels.get(instruction.name, instruction.estimated_cycles)
        if cycles is not None:
            origin = _origin(program, instruction, frames)
            key = (*frames.source(origin), _pass(origin.op_name))
            totals[key].append((cycles * times, times, origin.op_name))
    operations = [
        Operation(*key, max(parts)[2], sum(part[1] for part in parts), sum(p[0] for p in parts))
        for key, parts in totals.items()
    ]
    return sorted(operations, key=lambda operation: -operation.cycles)[:number]


def _origin(program: Program, instruction: Instruction, frames: StackFrames) -> Instruction:
    """The instruction, or of a fusion its product, or else one of the line that most come from.

    A fusion itself is named after what comes last in it, be it a rounding.
    """
    if instruction.opcode != "fusion" or not instruction.called:
        return instruction
    inside = [i for i in program.computations[instruction.called[0]].values() if i.op_name]
    products = [i for i in inside if i.opcode in PRODUCTS]
    if products or not inside:
        return (products or [instruction])[-1]
    lines = Counter(frames.source(each) for each in inside)
    most = max(lines.values())
    return next(i for i in reversed(inside) if lines[frames.source(i)] == most)


def _pass(op_name: str) -> str:
    if "transpose(" in op_name:
        return "backward"
    return "forward" if "jvp(" in op_name else "update"


def _file(line: str) -> str:
    return line.partition(":")[0]


def _shown(file: str, line: str) -> str:
    _, package, rest = file.rpartition(_PACKAGE)
    return f"{package[1:]}{rest}:{line}" if package else f"{file.rpartition('/')[2]}:{line}"
