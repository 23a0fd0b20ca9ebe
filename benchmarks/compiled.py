"""Training steps compiled for TPUs that are not here: jaxbert beside transformers' FlaxBert.

    python benchmarks/compiled.py [--layer | --kernels | --remat] [--compile] [--topologies ...]

Prints the tables of what benchmarks/results/compiled.json holds. With --compile, what is missing
there is compiled first, minutes each, one after another; what is known is kept at once, and the
command goes on where it was stopped. --layer: one encoder layer instead of whole steps; --kernels:
jaxbert's by the code of its attention; --remat: jaxbert's steps by what the backward pass computes
again, where XLA computes attention.
--again CONTENDER compiles what is known of it once more. FlaxBert lives in an environment of its
own, which the command makes. Needs jaxbert[plan].

Nothing here is a time that was measured on a TPU: `schedule` is what the compiler's instruction
schedule takes if nothing waits for memory, `hbm` what its traffic takes at the chip's bandwidth,
`mxu` what its products take at the chip's peak. CPU-seconds include writing the schedules down.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import contest
from step import peer_environment

from jaxbert.plan.chips import topology_of
from jaxbert.plan.collectives import collectives_of
from jaxbert.plan.compilation import ENVIRONMENT
from jaxbert.plan.hlo import Program
from jaxbert.plan.products import product_flops
from jaxbert.plan.schedule import schedule_flags, schedule_of
from jaxbert.plan.traffic import hbm_bytes

RESULTS = Path(__file__).resolve().parent / "results" / "compiled.json"
SHAPES = ((32, 128), (8, 512))
STEPS, LAYERS = ("jaxbert", "flax"), ("jaxbert_layer", "flax_layer")
REMATS = ("jaxbert", "jaxbert+xla", "jaxbert+attention", "jaxbert+products")
KERNELS = ("jaxbert_layer+xla", "jaxbert_layer+fused", "jaxbert_layer+splash")
KERNEL_SHAPES = ((32, 128), (16, 256), (8, 512), (4, 1024), (2, 2048))
TARGETS: dict[tuple[str, int], float] = {
    ("schedule", 128): 0.50,
    ("schedule", 512): 0.45,
    ("cycles", 128): 0.75,
    ("bytes_per_token", 128): 0.75,
    ("bytes_per_token", 512): 0.75,
    ("temporaries", 512): 0.6,
    ("cpu_seconds", 128): 0.5,
    ("cpu_seconds", 512): 0.5,
}
"""Of v5e: at most so much of FlaxBert's."""
Known = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A program to be compiled."""

    contender: str
    rows: int
    """Of a chip."""
    length: int
    topology: str

    def __str__(self) -> str:
        return f"{self.contender} {self.rows}x{self.length} {self.topology}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--layer", action="store_true", help="one encoder layer, not whole steps")
    which.add_argument("--kernels", action="store_true", help="one layer, by its attention's code")
    which.add_argument("--remat", action="store_true", help="what is computed again, at 512 tokens")
    parser.add_argument("--compile", action="store_true", help="compile what is missing")
    contenders = (*STEPS, *LAYERS, *KERNELS, *REMATS[1:])
    parser.add_argument("--again", choices=contenders, help="compile this one once more")
    parser.add_argument("--topologies", nargs="+", help="such as v5e:2x4")
    parser.add_argument("--cache", type=Path, default=contest.CACHE)
    arguments = parser.parse_args()
    known: Known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    cases = list(cases_of(arguments))
    for case in cases if arguments.compile else ():
        if str(case) not in known or case.contender == arguments.again:
            known[str(case)] = measured(case, arguments.cache)
            contest.save(known, RESULTS)
    table = step_table
    if arguments.layer or arguments.kernels:
        table = partial(layer_table, contenders=KERNELS if arguments.kernels else LAYERS)
    elif arguments.remat:
        table = remat_table
    print(table(known))
    missing = [str(case) for case in cases if str(case) not in known]
    if missing:
        print(f"\nNot compiled yet: {'; '.join(missing)}.")


def cases_of(arguments: argparse.Namespace) -> Iterator[Case]:
    """What is asked for; FlaxBert's steps take more than two minutes of a core each."""
    contenders, shapes, topologies = STEPS, SHAPES, ["v5e:2x4"]
    if arguments.layer:
        contenders, topologies = LAYERS, ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"]
    elif arguments.kernels:
        contenders, shapes, topologies = KERNELS, KERNEL_SHAPES, ["v5e:2x2"]
    elif arguments.remat:
        contenders, shapes = REMATS, SHAPES[1:]
    for topology in arguments.topologies or topologies:
        for rows, length in shapes:
            for contender in contenders:
                yield Case(contender, rows, length, topology)


def measured(case: Case, cache: Path) -> dict[str, Any]:
    """Compiles, and reads what came out."""
    print(f"... compiling {case}", file=sys.stderr, flush=True)
    is_ours = case.contender.startswith("jaxbert")
    python = sys.executable if is_ours else peer_environment(cache)
    with tempfile.TemporaryDirectory() as directory:
        script = Path(__file__).with_name("compiled_programs.py")
        words = [case.contender, str(case.rows), str(case.length), case.topology, directory]
        done = subprocess.run(
            [python, str(script), *words], env=environment(directory), check=False
        )
        if done.returncode:
            return {"failed": f"the compiler ended with status {done.returncode}", **made()}
        return read(case, Path(directory)) | made()


def environment(directory: str) -> dict[str, str]:
    """Both contenders get the same compiler, which writes down its programs and their schedules."""
    import libtpu

    dump = f"--xla_dump_to={directory}/dump --xla_dump_hlo_as_text"
    added = {
        "TPU_LIBRARY_PATH": libtpu.get_library_path(),
        "XLA_FLAGS": f"{dump} --xla_dump_hlo_module_re=jit_train_step",
        "LIBTPU_INIT_ARGS": schedule_flags(f"{directory}/schedule"),
    }
    return os.environ | ENVIRONMENT | added


def made() -> dict[str, Any]:
    """What a figure depends on."""
    return {"made": contest.about(("jax", "jaxlib", "libtpu", "flax", "optax"))}


def read(case: Case, directory: Path) -> dict[str, Any]:
    """Figures of one chip and one step."""
    about = json.loads((directory / "made.json").read_text(encoding="utf-8"))
    program = Program.parse((directory / "program.txt").read_text(encoding="utf-8"))
    schedule = schedule_of(program, directory / "schedule")
    clock = topology_of(case.topology).chip.clock
    # The cost model counts nothing for a kernel.
    cycles = sum(times * (each.estimated_cycles or 0) for _, each, times in program.scheduled())
    exchanges = collectives_of(program, about["mesh"])
    reduces = [each for each in exchanges if each.kind == "all-reduce"]
    traffic = hbm_bytes(program)
    return about | {
        "schedule": schedule.bundles / clock,
        "pallas_schedule": schedule.pallas / clock,
        "without_schedule": len(schedule.missing),
        "cycles": cycles + schedule.pallas,
        "bytes": traffic,
        "bytes_per_token": traffic / (case.rows * case.length),
        "matrix_flops": product_flops(program),
        "all_reduces": sum(each.count for each in reduces),
        "sent_bytes": sum(each.sent_bytes for each in exchanges),
    }


def layer_table(known: Known, contenders: Sequence[str]) -> str:
    """Microseconds of one layer."""
    times = "schedule, us", "cycles, us", "hbm, us", "mxu, us"
    rows = [("layer, forward and backward", "TPU", *times, "temporary, MB", "CPU-s")]
    for name, found in known.items():
        contender, shape, topology = name.split()
        if contender not in contenders:
            continue
        chip = topology_of(topology).chip
        figures = ["", "", "", "", "", found.get("failed", "")]
        if "failed" not in found:
            mxu, hbm = (
                found["matrix_flops"] / chip.peak_flops,
                found["bytes"] / chip.memory_bandwidth,
            )
            seconds = (found["schedule"], found["cycles"] / chip.clock, hbm, mxu)
            figures = [f"{1e6 * each:,.0f}" for each in seconds]
            figures += [f"{found['temporaries'] / 1e6:,.0f}", f"{found['cpu_seconds']:.0f}"]
            figures[0] = figures[0] if found["schedule"] else "not written by the compiler"
        rows.append((f"{contender.replace('_layer', '')} {shape}", chip.name, *figures))
    return contest.table(rows)


def step_table(known: Known) -> str:
    """Whole training steps, of one chip."""
    rows = [("per chip and step", "jaxbert", "FlaxBert", "ratio", "target")]
    for name, ours in known.items():
        contender, shape, topology = name.split()
        if contender != "jaxbert" or "failed" in ours:
            continue
        theirs = known.get(f"flax {shape} {topology}", {})
        rows.append((f"**{shape}, {topology}**", "", "", "", ""))
        length = int(shape.partition("x")[2])
        targets = {key: target for (key, of), target in TARGETS.items() if of == length}
        rows += lines(ours, theirs, targets if topology.startswith("v5e:") else {})
    return contest.table(rows)


def remat_table(known: Known) -> str:
    """Whole training steps of jaxbert, of one chip."""
    shown = [each for each in FIGURES if each[0] in REMAT_FIGURES]
    rows = [("remat", "per chip", *(label for _, label, *_ in shown))]
    for name, found in known.items():
        contender, shape, topology = name.split()
        if contender in REMATS and shape == "8x512" and "failed" not in found:
            figures = [f"{found[key] * scale:,.{digits}f}" for key, _, scale, digits in shown]
            name = {"": "none, fused attention", "xla": "none"}.get(way := contender[8:], way)
            rows.append((name, f"{shape}, {topology}", *figures))
    return contest.table(rows)


def lines(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], targets: Mapping[str, float]
) -> Iterator[tuple[str, str, str, str, str]]:
    """One for every figure."""
    for key, label, scale, digits in FIGURES:
        values = [found.get(key, math.nan) * scale for found in (ours, theirs)]
        shown = ["" if math.isnan(value) else f"{value:,.{digits}f}" for value in values]
        ratio, target = values[0] / values[1] if values[1] else math.nan, targets.get(key)
        verdict = ""
        if target is not None and not math.isnan(ratio):
            verdict = f"{target}: {'met' if ratio <= target else 'MISSED'}"
        yield label, *shown, "" if math.isnan(ratio) else f"{ratio:.2f}", verdict
    model = ours["model_flops"]
    executed = [f"{found['matrix_flops'] / model:.3f}" if found else "" for found in (ours, theirs)]
    met = "met" if ours["matrix_flops"] <= 1.03 * model else "MISSED"
    yield "executed over model FLOPs", *executed, "", f"1.03 (ours): {met}"


FIGURES = (
    ("model_flops", "model FLOPs (analytic), G", 1e-9, 0),
    ("matrix_flops", "executed FLOPs of products, G", 1e-9, 0),
    ("schedule", "static schedule, ms", 1e3, 2),
    ("pallas_schedule", "of it Pallas kernels, ms", 1e3, 2),
    ("cycles", "estimated cycles, kernels by schedule, M", 1e-6, 1),
    ("bytes_per_token", "bytes per real token, thousands", 1e-3, 0),
    ("temporaries", "temporary memory, GB", 1e-9, 2),
    ("peak_memory", "peak memory, GB", 1e-9, 2),
    ("cpu_seconds", "tracing and compilation, CPU-s", 1, 0),
    ("all_reduces", "all-reduces", 1, 0),
    ("sent_bytes", "sent by a chip to others, MB", 1e-6, 0),
)
"""(key, label, scale, digits)"""
REMAT_FIGURES = {"matrix_flops", "schedule", "cycles", "bytes_per_token", "temporaries"}


if __name__ == "__main__":
    main()
