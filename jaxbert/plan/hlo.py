"""The text of a compiled program: computations, instructions, and how often each one runs."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

_BYTES = {"pred": 1.0, "bf16": 2.0, "token": 0.0, "opaque": 0.0}
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^{}]*\})?")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)")
_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(?:calls|called_computations|body|condition|to_apply|branch_computations|\w+_computation)="
    r"\{?(%[^,}]+(?:, %[^,}]+)*)"
)
# What a Pallas kernel says of itself is written on lines of its own within its instruction.
_BROKEN = re.compile(r'\n(?="|\}\})')
# How the cost model says that it knows nothing.
_INFINITE = 2**63 - 1
# Of a reduction, say, what it calls is a detail of the arithmetic.
_CALLERS = {"fusion", "custom-call", "while", "call", "conditional", "async-start"}


@dataclass(frozen=True)
class Shape:
    """An array, without its layout."""

    dtype: str
    dimensions: tuple[int, ...]
    is_in_hbm: bool
    """Memory space 0; others are vector memory (1) and places for scalars."""

    @property
    def num_bytes(self) -> float:
        """Without the padding of its tiles."""
        found = re.search(r"\d+", self.dtype)
        bits = int(found.group()) if found else 0
        return math.prod(self.dimensions) * _BYTES.get(self.dtype, bits / 8)


@dataclass(frozen=True)
class Instruction:
    """One line: `%name = result opcode(operands), attributes`."""

    name: str
    results: tuple[Shape, ...]
    """The leaves of a tuple, or the one array."""
    opcode: str
    arguments: str
    attributes: str

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of instructions of the same computation."""
        return tuple(_NAME.findall(self.arguments))

    @cached_property
    def called(self) -> tuple[str, ...]:
        """Computations that it runs."""
        if self.opcode not in _CALLERS:
            return ()
        lists = _CALLED.findall(self.attributes)
        return tuple(name for names in lists for name in _NAME.findall(names))

    @property
    def estimated_cycles(self) -> int | None:
        """What the compiler's cost model says of it; None: it says nothing."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        cycles = None if found is None else int(found.group(1))
        return None if cycles == _INFINITE else cycles

    @property
    def op_name(self) -> str:
        """What JAX called it."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return "" if found is None else found.group(1)


Computation = dict[str, Instruction]


@dataclass(frozen=True)
class Program:
    """The optimised module of one chip."""

    computations: dict[str, Computation]
    entry: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "Program":
        """Reads what `jax.stages.Compiled.as_text()` gives for a TPU."""
        computations: dict[str, Computation] = {}
        entry, current = "", dict[str, Instruction]()
        for line in _BROKEN.sub("", text).splitlines():
            if line.startswith((" ", "\t")):
                found = _INSTRUCTION.match(line)
                if found is not None:
                    instruction = _instruction(*found.groups())
                    current[instruction.name] = instruction
            elif (header := _HEADER.match(line)) is not None:
                current = computations.setdefault(header.group(2), {})
                entry = header.group(2) if header.group(1) else entry
        assert entry, "the text has no ENTRY computation"
        return cls(computations, entry, text)

    @cached_property
    def runs(self) -> dict[str, float]:
        """How often every computation runs in one execution; those that never do are missing."""
        return self._count(lambda instruction: True)

    @cached_property
    def scheduled_runs(self) -> dict[str, float]:
        """The same of those whose instructions run one by one: not the inside of fusions."""
        return self._count(lambda instruction: instruction.opcode not in ("fusion", "custom-call"))

    @cached_property
    def unknown_loops(self) -> tuple[str, ...]:
        """Loops whose trip count is not in the text: their bodies count once."""
        loops = (i for c in self.runs for i in self.computations[c].values() if i.opcode == "while")
        return tuple(loop.name for loop in loops if self._trips(loop) is None)

    def scheduled(self) -> Iterator[tuple[Computation, Instruction, float]]:
        """(computation, instruction, times) of what runs by itself."""
        for name, times in self.scheduled_runs.items():
            computation = self.computations[name]
            for instruction in computation.values():
                yield computation, instruction, times

    def everything(self) -> Iterator[tuple[Computation, Instruction, float]]:
        """The same, with the inside of fusions."""
        for name, times in self.runs.items():
            computation = self.computations[name]
            for instruction in computation.values():
                yield computation, instruction, times

    def _count(self, follows: Callable[[Instruction], bool]) -> dict[str, float]:
        runs: dict[str, float] = defaultdict(float)
        runs[self.entry] = 1.0
        # A computation is written after those that it calls.
        for name in reversed(self.computations):
            for instruction in self.computations[name].values() if name in runs else ():
                if not instruction.called or not follows(instruction):
                    continue
                times = self._trips(instruction) if instruction.opcode == "while" else 1
                for called in instruction.called:
                    runs[called] += runs[name] * (times or 1)
        return dict(runs)

    def _trips(self, loop: Instruction) -> int | None:
        """Of a loop that counts from 0, as `jax.lax.scan` does, up to a constant."""
        found = re.search(r"condition=%([\w.\-]+)", loop.attributes)
        condition = self.computations[found.group(1)] if found else {}
        reached = [condition]
        for instruction in condition.values():
            reached += [self.computations[name] for name in instruction.called]
        bounds = [
            int(instruction.arguments)
            for computation in reached
            for instruction in computation.values()
            if instruction.opcode == "constant" and instruction.arguments.isdecimal()
        ]
        tests = [
            instruction
            for computation in reached
            for instruction in computation.values()
            if instruction.opcode == "compare" and "direction=LT" in instruction.attributes
        ]
        return bounds[0] if len(bounds) == len(tests) == 1 else None


def _instruction(name: str, rest: str) -> Instruction:
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    opening = rest.index("(", end)
    closing = _closing(rest, opening)
    return Instruction(
        name,
        _shapes(rest[:end]),
        rest[end:opening].strip(),
        rest[opening + 1 : closing],
        rest[closing + 1 :],
    )


def _closing(text: str, opening: int) -> int:
    depth = 0
    for found in re.finditer(r"[()]", text[opening:]):
        depth += 1 if found.group() == "(" else -1
        if not depth:
            return opening + found.start()
    return len(text)


def _shapes(text: str) -> tuple[Shape, ...]:
    return tuple(
        Shape(dtype, tuple(int(size) for size in sizes.split(",") if size), "S(" not in layout)
        for dtype, sizes, layout in _SHAPE.findall(text)
    )
