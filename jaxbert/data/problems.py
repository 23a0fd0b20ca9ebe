"""Malformed input: counted by kind, each instance written down with its file and line."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

LEFT_OUT = "; row left out"
"""How a detail ends where whoever counts problems goes on without the row."""

PROBLEMS = "problems.jsonl"
"""Name of the file within a store that holds all of them."""


@dataclass(frozen=True)
class Problem:
    """One malformed piece of input; `line` counts from 1, rows where there are no lines."""

    kind: str
    file: str
    line: int
    detail: str

    @property
    def place(self) -> str:
        """File and line, for a message."""
        return f"{self.file}:{self.line}"


class Problems:
    """Collects problems: how many of each kind, the first of each, and all of them in `log`.

    With a `log` (an open text file, one JSON object a line) memory does not grow with the number
    of problems; without one they are kept in `kept`.
    """

    def __init__(self, log: IO[str] | None = None):
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Problem] = {}
        self.kept: list[Problem] = []
        self._log = log

    def add(self, kind: str, file: str, line: int, detail: str) -> None:
        """Count one problem and write it down."""
        self.extend([Problem(kind, file, line, detail)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Count problems that were collected elsewhere."""
        for problem in problems:
            self.counts[problem.kind] += 1
            self.first.setdefault(problem.kind, problem)
            self.write(problem)

    def write(self, problem: Problem) -> None:
        """Write down what is not to be counted."""
        if self._log is None:
            self.kept.append(problem)
        else:
            self._log.write(json.dumps(asdict(problem), ensure_ascii=False) + "\n")

    def state(self) -> dict[str, Any]:
        """What `restore` wants, as plain values."""
        return {"counts": dict(self.counts), "first": {k: asdict(p) for k, p in self.first.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on counting where another left off."""
        self.counts = Counter(state["counts"])
        self.first = {kind: Problem(**problem) for kind, problem in state["first"].items()}

    def take(self) -> list[Problem]:
        """Hand over the kept problems and forget them; the counts stay."""
        taken, self.kept = self.kept, []
        return taken
