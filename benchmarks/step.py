"""One training step of a masked LM on one core of the CPU, beside its peers.

python benchmarks/step.py [--sizes "mini 32x128"...] [--variants all] [--out FILE.json]

Every contender is a process with one thread on one core. When all are compiled they take turns at
the same number of steps; figures are tokens per second of a process's own CPU time, which other
work on the machine disturbs least: medians of the turns (lowest to highest), wall time beside it.
All have the recipe of step_contenders.py. jaxbert and keras-hub project the masked positions onto
the vocabulary, transformers' models all of them.

Of PyTorch the fastest variant of each dtype counts, found in a first round: --variants few has SDPA
with and without torch.compile (which needs a C++ compiler), all has the eager attention too. What
computes in float32 is beside jaxbert's float32, PyTorch's bfloat16 beside the faster of our two.
FlaxBert (transformers 4.57.6) and keras-hub run in an environment of their own beside the same JAX,
which is made in --cache the first time.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import contest
from step_contenders import SIZES

OURS, OURS_NARROW = "jaxbert float32 auto", "jaxbert bfloat16 auto"
FLAX, KERAS = "flax float32 threefry2x32", "keras float32"
PEER_NAMES = ("flax", "keras", "torch")
TARGETS = {
    "mini 32x128": {"flax": 2.0, "torch float32": 3.0},
    "MiniLM 16x128": {"flax": 1.4, "torch float32": 2.3},
    "base 4x128": {"flax": 1.15, "torch float32": 2.0},
    "base 1x512": {"flax": 1.1, "torch float32": 1.6},
}
OF_ALL_SIZES = {"keras": 1.1, "torch bfloat16": 1.0}
PEERS = (
    "transformers==4.57.6",
    "keras==3.15.1",
    "absl-py==2.5.1",
    "regex==2026.11.15",
    "kagglehub==1.0.2",
)
WITHOUT_TENSORFLOW = ("keras-hub==0.32.0",)


@dataclass(frozen=True)
class Contestants:
    """What starts the processes of one run."""

    peer_python: str

    def start(self, names: Sequence[str], size: str) -> dict[str, contest.Worker]:
        """Ready to take turns; they get ready side by side, one on each core at a time."""
        cores, workers = contest.cores(), {}
        for first in range(0, len(names), len(cores)):
            some = names[first : first + len(cores)]
            for name, core in zip(some, cores, strict=False):
                print(f"... {size}: {name}", file=sys.stderr, flush=True)
                workers[name] = contest.Worker([*self.command(name), size], core)
            for name in some:
                workers[name].answer()
        return workers

    def command(self, name: str) -> list[str]:
        """Of a contender, without the size."""
        is_ours = name.startswith(("jaxbert", "torch"))
        script = Path(__file__).with_name("step_contenders.py")
        return [sys.executable if is_ours else self.peer_python, str(script), name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--variants", choices=("few", "all"), default="few")
    parser.add_argument("--peers", nargs="+", default=list(PEER_NAMES), choices=PEER_NAMES)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="in a turn")
    parser.add_argument("--cache", type=Path, default=contest.CACHE)
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    contestants = Contestants(peer_environment(arguments.cache))
    results = {"made": contest.about(("jax", "flax", "optax", "torch", "transformers"))}
    results["made"]["peers"] = [*PEERS, *WITHOUT_TENSORFLOW]
    results["made"]["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    results["sizes"] = {}
    for size in arguments.sizes:
        results["sizes"][size] = measure(contestants, size, arguments)
        contest.save(results, arguments.out)
    print(contest.described(results["made"]) + "\n")
    print(report(results["sizes"]))


def peer_environment(cache: Path) -> str:
    """The Python of the peers that cannot live beside our own transformers."""
    ours = [f"{name}=={version(name)}" for name in ("jax", "jaxlib", "flax", "optax", "numpy")]
    return contest.peer_python("peers", [*ours, *PEERS], WITHOUT_TENSORFLOW, cache)


def measure(contestants: Contestants, size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every contender's turns: tokens per CPU-second and per second."""
    attentions = ("sdpa", "eager") if arguments.variants == "all" else ("sdpa",)
    found, fastest = {}, []
    for dtype in ("float32", "bfloat16") if "torch" in arguments.peers else ():
        names = [f"torch {dtype} {a} {c}" for a, c in product(attentions, ("eager", "compile"))]
        qualifying = taken(contestants.start(names, size), size, 2, 1)
        found |= {f"{name}, first round": turns for name, turns in qualifying.items()}
        fastest.append(max(names, key=lambda name: median(qualifying[name]["cpu"])))
    others = [name for name in (FLAX, KERAS) if name.split()[0] in arguments.peers]
    workers = contestants.start([OURS, OURS_NARROW, *others, *fastest], size)
    return found | taken(workers, size, arguments.turns, arguments.steps)


def taken(
    workers: Mapping[str, contest.Worker], size: str, turns: int, steps: int
) -> dict[str, dict[str, list[float]]]:
    """Tokens per second of CPU and of wall time, of every turn of every contender."""
    tokens = SIZES[size].tokens * steps
    speeds: dict[str, dict[str, list[float]]] = {n: {"cpu": [], "wall": []} for n in workers}
    for _ in range(turns):
        for name, worker in workers.items():
            spent = worker.turn(str(steps))
            for clock, values in speeds[name].items():
                values.append(tokens / spent[clock])
    for worker in workers.values():
        worker.end()
    return speeds


def report(sizes: Mapping[str, Any]) -> str:
    """A table of all sizes."""
    rows = [("size", "contender", "tokens per CPU-second", "per second", "jaxbert is", "target")]
    for size, found in sizes.items():
        wide = found[OURS]["cpu"]
        fastest = max((wide, found[OURS_NARROW]["cpu"]), key=median)
        for name, turns in found.items():
            if name.endswith("first round"):
                continue
            ours = fastest if "bfloat16" in name else wide
            ratio, target = contest.times(ours, turns["cpu"]), target_of(size, name)
            cells = ["", ""]
            if name not in (OURS, OURS_NARROW):
                cells[0] = f"{ratio:.2f} x"
            if target:
                cells[1] = f"{target}: {'met' if ratio >= target else 'MISSED'}"
            speeds = (contest.spread(turns[clock]) for clock in ("cpu", "wall"))
            rows.append((size, name, *speeds, *cells))
    return contest.table(rows)


def target_of(size: str, name: str) -> float | None:
    """What jaxbert should be at least, in times of a contender's speed."""
    targets = TARGETS[size] | OF_ALL_SIZES
    return next((target for key, target in targets.items() if name.startswith(key)), None)


if __name__ == "__main__":
    main()
