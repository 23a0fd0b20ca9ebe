"""How long training stands still while a checkpoint is saved.

python benchmarks/saving.py [--size base] [--steps 6] [--repeats 5] [--out FILE.json]

The state of a BERT with AdamW, three float32 numbers a parameter, is saved as a run saves it, by
Orbax. A repeat is so many steps without a save, with one before them that goes on beside them (what
runs do), and with one that is waited for; seconds of wall time, medians (lowest to highest):

call       until the loop goes on: the state is copied off the devices, or all is on disk
slower     how much longer call and steps take together than the steps alone: a save in the
           background wants cores and memory too
on disk    from the call until the checkpoint is whole
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import contest
import jax
from step_contenders import Size, jaxbert_update

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.tree import num_elements

SIZES = {
    "mini": Size(layers=4, hidden=256, heads=4, rows=8, length=128),
    "base": Size(layers=12, hidden=768, heads=12, rows=4, length=128),
    "large": Size(layers=24, hidden=1024, heads=16, rows=4, length=128),
}
KINDS = ("none", "asynchronous", "synchronous")
FIGURES = ("call", "slower", "on disk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="base", choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=6, help="beside a save")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to save; a temporary one in it")
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    made = contest.about(("jax", "orbax-checkpoint"))
    made["device"] = jax.devices()[0].device_kind
    made["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        results = {"made": made} | measure(arguments, Path(scratch))
    contest.save(results, arguments.out)
    size = f"{results['bytes'] / 1e6:,.0f} MB of state, steps of {results['step']:.2f} s"
    print(f"{contest.described(made)}, {made['device']}\n\n{arguments.size}, {size}\n")
    print(report(results["kinds"]))


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Seconds of every repeat, by kind of save."""
    update, state, batch, put = jaxbert_update(SIZES[arguments.size])
    checkpoints = Checkpoints(scratch, CheckpointConfig())
    placed, number = put(batch), 0

    def steps() -> None:
        nonlocal state, number
        for _ in range(arguments.steps):
            state, metrics = update(state, placed)
            float(metrics["loss"])
            number += 1

    def repeat(kind: str) -> tuple[float, float, float]:
        began = time.perf_counter()
        if kind != "none":
            checkpoints.save(number, state, {}, {})
        if kind == "synchronous":
            checkpoints.wait()
        called = time.perf_counter() - began
        steps()
        stepped = time.perf_counter() - began
        checkpoints.wait()
        whole = called if kind == "synchronous" else time.perf_counter() - began
        return called, stepped, whole

    steps()
    repeat("synchronous")
    found: dict[str, Any] = {
        "bytes": 12 * num_elements(state.params),
        "kinds": {kind: {name: [] for name in FIGURES} for kind in KINDS[1:]},
    }
    for turn in range(arguments.repeats):
        print(f"... repeat {turn + 1}", file=sys.stderr, flush=True)
        alone = repeat("none")[1]
        found["step"] = alone / arguments.steps
        for kind, figures in found["kinds"].items():
            called, stepped, whole = repeat(kind)
            for name, value in zip(FIGURES, (called, stepped - alone, whole), strict=True):
                figures[name].append(value)
    checkpoints.close()
    return found


def report(kinds: dict[str, dict[str, list[float]]]) -> str:
    """A table, one kind of save a row."""
    rows = [
        (kind, *(contest.spread(figures[name], 3) for name in FIGURES))
        for kind, figures in kinds.items()
    ]
    return contest.table([("save", *FIGURES), *rows])


if __name__ == "__main__":
    main()
