"""What a run costs before its first step and beside its steps, beside the peers.

python benchmarks/startup.py [--repeats 3] [--out FILE.json]

import      CPU-seconds of a fresh process until what trains a model is imported
first step  CPU-seconds of a fresh process until a first update of a mini BERT (4 x 256, 8x128) is
            done; cold: nothing was compiled before; warm: the framework's cache on disk holds it
dispatch    CPU-microseconds of the calling thread for handing over one step of a BERT of 12 layers
            that are next to nothing: to jit with the batch on the device already, and with a batch
            of NumPy arrays. The peer is FlaxBert in a Linen TrainState, `apply_gradients` in a
            jitted step that donates the state.

Processes are fresh ones of one core, in turn; figures are medians (lowest to highest).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contest
from step import peer_environment

TARGET = 1.2
Figures = dict[str, dict[str, list[float]]]
IMPORTS = {
    "jaxbert": "import jaxbert.experiment.pretrain",
    "transformers, PyTorch": "from transformers import BertForMaskedLM, Trainer",
    "transformers 4.57.6, Flax": "import optax; from transformers import FlaxBertForMaskedLM",
}
FIRST_STEPS = {
    "jaxbert": "jaxbert float32 auto",
    "transformers, PyTorch": "torch float32 sdpa eager",
    "transformers, PyTorch compiled": "torch float32 sdpa compile",
    "transformers 4.57.6, Flax": "flax float32 threefry2x32",
}
DISPATCH = {"jaxbert": "jaxbert", "transformers 4.57.6, Flax": "linen"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=contest.CACHE)
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    peer = peer_environment(arguments.cache)

    def python(name: str) -> str:
        return peer if "4.57.6" in name else sys.executable

    results: dict[str, Any] = {"made": contest.about(("jax", "flax", "torch", "transformers"))}
    repeats = arguments.repeats
    results["import"] = in_turn(IMPORTS, repeats, lambda name: imported(python(name), name))
    results["first step"] = in_turn(FIRST_STEPS, repeats, lambda name: first(python(name), name))
    results["dispatch"] = in_turn(DISPATCH, repeats, lambda name: dispatched(python(name), name))
    contest.save(results, arguments.out)
    print(contest.described(results["made"]))
    for part, digits in (("import", 2), ("first step", 1), ("dispatch", 0)):
        print(f"\n{part}\n\n{report(results[part], digits)}")
    ours, theirs = results["dispatch"].values()
    ratio = contest.times(ours["on the device"], theirs["on the device"])
    verdict = "met" if ratio <= TARGET else "MISSED"
    print(f"\ndispatch: {ratio:.2f} of the Linen TrainState step's, at most {TARGET}: {verdict}")


def in_turn(names: dict[str, str], repeats: int, run: Callable[[str], dict[str, float]]) -> Figures:
    """Every contender's figures, `repeats` times one after the other."""
    figures: Figures = {name: {} for name in names}
    for _ in range(repeats):
        for name in names:
            print(f"... {name}", file=sys.stderr, flush=True)
            for key, value in run(name).items():
                figures[name].setdefault(key, []).append(value)
    return figures


def imported(python: str, name: str) -> dict[str, float]:
    """CPU-seconds of the interpreter with its imports, all threads."""
    program = f"{IMPORTS[name]}; import json, time; print(json.dumps(time.process_time()))"
    return {"CPU-seconds": contest.once([python, "-c", program])}


def first(python: str, name: str) -> dict[str, float]:
    """Of a process that finds no compiled program, and of the next one."""
    script = Path(__file__).with_name("startup_contenders.py")
    with tempfile.TemporaryDirectory() as cache:
        settings = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_CACHE_DIR": cache,
        }
        command = [python, str(script), "first", FIRST_STEPS[name]]
        return {kind: contest.once(command, settings) for kind in ("cold", "warm")}


def dispatched(python: str, name: str) -> dict[str, float]:
    """CPU-microseconds of a step by where the batch is."""
    script = Path(__file__).with_name("startup_contenders.py")
    found: dict[str, float] = contest.once([python, str(script), "dispatch", DISPATCH[name]])
    return found


def report(figures: Figures, digits: int) -> str:
    """A table, one contender a row."""
    keys = list(next(iter(figures.values())))
    ours = figures["jaxbert"]
    rows = [("", *keys, "times jaxbert's")]
    for name, found in figures.items():
        ratios = " / ".join(f"{contest.times(found[key], ours[key]):.2f}" for key in keys)
        rows.append((name, *(contest.spread(found[key], digits) for key in keys), ratios))
    return contest.table(rows)


if __name__ == "__main__":
    main()
