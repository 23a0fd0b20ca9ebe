"""How fast XLA and PyTorch compute the products of a training step on one core of the CPU.

python benchmarks/products.py [--sizes "base 4x128"...] [--turns 5] [--out FILE.json]

The products of hidden states with kernels of which a masked-LM step of step.py consists, each kind
alone, in float32, in processes of one thread that take turns. Figures are thousand million
operations per second of a process's own CPU time, medians of the turns: forward / gradient by the
input / gradient by the kernel. `step` is what all of them take together, and the tokens per second
that it leaves: without attention's products, norms, dropout and the optimizer, so that no step made
of these products can be faster.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import contest
import numpy as np
from step_contenders import SIZES, VOCAB_SIZE, Size

FRAMEWORKS = ("jaxbert", "torch")
DIRECTIONS = ("forward", "by the input", "by the kernel")
WARM_UP, AT_LEAST = 2, 0.2
"""Calls that are not counted; seconds of a turn."""


class Product(NamedTuple):
    """[rows, inputs] with a kernel [inputs, outputs], so many times in a step."""

    rows: int
    inputs: int
    outputs: int
    times: int

    @property
    def operations(self) -> int:
        """Of one direction, once."""
        return 2 * self.rows * self.inputs * self.outputs


def products_of(size: Size) -> dict[str, Product]:
    """By what the kernels are."""
    hidden, tokens = size.hidden, size.tokens
    masked = size.rows * round(0.15 * size.length)
    return {
        "queries, keys, values, outputs": Product(tokens, hidden, hidden, 4 * size.layers),
        "up": Product(tokens, hidden, 4 * hidden, size.layers),
        "down": Product(tokens, 4 * hidden, hidden, size.layers),
        "vocabulary": Product(masked, hidden, VOCAB_SIZE, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    parser.add_argument("--work", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return
    results: dict[str, Any] = {"made": contest.about(("jax", "torch")), "sizes": {}}
    core = contest.cores()[-1]
    workers = {
        name: contest.Worker([sys.executable, __file__, "--work", name], core)
        for name in FRAMEWORKS
    }
    for size in arguments.sizes:
        results["sizes"][size] = measure(workers, SIZES[size], arguments.turns)
        contest.save(results, arguments.out)
    for worker in workers.values():
        worker.end()
    print(contest.described(results["made"]) + "\n")
    print(report(results["sizes"]))


def measure(workers: Mapping[str, contest.Worker], size: Size, turns: int) -> dict[str, Any]:
    """CPU-seconds of a product, of every turn, by framework, kernel and direction."""
    found: dict[str, Any] = {name: {} for name in workers}
    for kernel, product in products_of(size).items():
        for direction in DIRECTIONS:
            key = f"{kernel}, {direction}"
            for _ in range(turns):
                for name, worker in workers.items():
                    request = json.dumps([*product[:3], direction])
                    found[name].setdefault(key, []).append(worker.turn(request)["cpu"])
    return found


def work(framework: str) -> None:
    """Answers every request with the CPU-seconds of one product."""
    make = {"jaxbert": of_jaxbert, "torch": of_torch}[framework]
    made: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        if line not in made:
            *shape, direction = json.loads(line)
            made.clear()
            made[line] = make(*shape, direction)
            for _ in range(WARM_UP):
                made[line]()
        began, calls = time.process_time(), 0
        while (spent := time.process_time() - began) < AT_LEAST:
            made[line]()
            calls += 1
        print(json.dumps({"cpu": spent / calls}), flush=True)


def of_jaxbert(rows: int, inputs: int, outputs: int, direction: str) -> Callable[[], Any]:
    """A product as `jaxbert.nn.linear` has it, compiled alone."""
    import jax

    from jaxbert.nn.linear import product

    x, kernel, slope = map(jax.numpy.asarray, draw(rows, inputs, outputs))
    if direction == "forward":
        run, inputs_of_run = jax.jit(product), (x, kernel)
    else:
        argument = DIRECTIONS.index(direction) - 1

        def gradient(x: Any, kernel: Any, slope: Any) -> Any:
            return jax.vjp(product, x, kernel)[1](slope)[argument]

        run, inputs_of_run = jax.jit(gradient), (x, kernel, slope)
    return lambda: run(*inputs_of_run).block_until_ready()


def of_torch(rows: int, inputs: int, outputs: int, direction: str) -> Callable[[], Any]:
    """A product as torch.nn.Linear has it, whose kernel is [outputs, inputs]."""
    import torch

    torch.set_num_threads(1)
    x, kernel, slope = map(torch.as_tensor, draw(rows, inputs, outputs))
    kernel = kernel.T.contiguous()
    return {
        "forward": lambda: torch.nn.functional.linear(x, kernel),
        "by the input": lambda: slope @ kernel,
        "by the kernel": lambda: slope.T @ x,
    }[direction]


def draw(rows: int, inputs: int, outputs: int) -> list[np.ndarray]:
    """Input, kernel, and slope by the output."""
    draws, shapes = np.random.default_rng(0), ((rows, inputs), (inputs, outputs), (rows, outputs))
    return [draws.standard_normal(shape).astype(np.float32) for shape in shapes]


def report(sizes: Mapping[str, Any]) -> str:
    """A table of all sizes."""
    rows = [("size", "kernel", *FRAMEWORKS)]
    for size, found in sizes.items():
        seconds = dict.fromkeys(found, 0.0)
        for kernel, product in products_of(SIZES[size]).items():
            cells = []
            for name, spent in found.items():
                middles = [median(spent[f"{kernel}, {direction}"]) for direction in DIRECTIONS]
                seconds[name] += product.times * sum(middles)
                cells.append(" / ".join(f"{product.operations / s / 1e9:.0f}" for s in middles))
            rows.append((size, kernel, *cells))
        tokens = SIZES[size].tokens
        cells = [f"{value:.2f} s, {tokens / value:,.0f} tokens/s" for value in seconds.values()]
        rows.append((size, "step", *cells))
    return contest.table(rows)


if __name__ == "__main__":
    main()
