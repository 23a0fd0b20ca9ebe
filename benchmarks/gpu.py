"""Training steps of BERT-base and -large on one GPU in bfloat16, beside the peers.

PYTHONPATH=. python benchmarks/gpu.py [--minutes 9] [--cases "large 512"...] [--out FILE.json]

Masked LM at 128 and 512 tokens and SQuAD at 384. Peers: transformers' BERT in PyTorch (SDPA,
torch.compile, autocast, fused AdamW) and its FlaxBert of 4.57.6. Contenders are processes that
share the GPU; when all of a case are compiled they take turns, and figures are medians of the turns
(lowest to highest) of real tokens per second of wall time. Data lie on the device.

full    every row is one example of the whole length
real    lengths as in gpu_batches.py: jaxbert has them packed, the peers padded to the length

Of jaxbert the fastest of --variants counts: the code that computes attention, and the generator of
dropout bits; "xla auto" is what a run has by itself. Dropout is 0.1, but that of attention weights
is 0 for all contenders in the cases of 384 tokens and more, where jaxbert may then take cuDNN's
attention; --published keeps it everywhere, which leaves XLA's. "of the ceiling" is model FLOP/s
(jaxbert/training/flops.py; padding and logits of tokens that are not masked count nothing) over the
FLOP/s of large bfloat16 products: those of JAX or PyTorch, whichever is faster, whose turns are
taken before the steps of every case.

jaxbert is imported from this tree and needs JAX, Flax, Optax, jaxtyping, scipy, tokenizers and
annotated-types. Nothing is installed unless --install-flax is given: that puts the last
transformers with FlaxBert into --cache, for the JAX that is there. A peer that is missing is said
to be, and left out. What was compiled is kept in --cache: where --minutes did not suffice for all
cases, the same command takes less time the next time.

--cpu-rehearsal does all of it with models that are next to nothing on the CPU.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import contest
import numpy as np
from gpu_batches import BATCHES, CASES, Batch, Case, batches, real_tokens

ROOT = Path(__file__).resolve().parent.parent
FLAX_PACKAGES = (
    "transformers==4.57.6",
    "tokenizers==0.22.1",
    "huggingface-hub==0.36.0",
    "requests==2.32.5",
    "urllib3==2.5.0",
    "charset-normalizer==3.4.4",
    "certifi==2025.11.12",
)
VARIANTS = ("xla auto", "xla rbg", "cudnn auto", "cudnn rbg")
TOGETHER = (
    ("large 512",),
    ("base 128", "base 512"),
    ("large 128", "base SQuAD 384"),
    ("large SQuAD 384",),
)
"""Cases whose contenders get ready side by side: what fits the memory of an H200."""
OF_CEILING = {"large 512": 0.55, "base 128": 0.40, "base 512": 0.45}
OF_TORCH = {"full": 1.2, "real": 2.2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9, help="begin no more cases after that")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="of jaxbert")
    parser.add_argument("--peers", nargs="*", default=["torch", "flax"], choices=("torch", "flax"))
    parser.add_argument("--published", action="store_true", help="attention's dropout everywhere")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, about")
    parser.add_argument("--install-flax", action="store_true")
    parser.add_argument("--cache", type=Path, default=contest.CACHE / "gpu")
    parser.add_argument("--cpu-rehearsal", action="store_true")
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    # Of this process, which counts FLOPs by code that imports JAX: the GPU is for the contenders.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if arguments.install_flax:
        install_flax(arguments.cache / "flax")
    results = Contest(arguments).run()
    print(contest.described(results["made"]) + f", {results['device']}\n")
    if arguments.cpu_rehearsal:
        print("a rehearsal: no figure says anything\n")
    print(report(results))


def install_flax(directory: Path) -> None:
    """The last transformers with FlaxBert, for the JAX that is there."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--upgrade", "--target", str(directory), *FLAX_PACKAGES], check=True)


class Contest:
    """One run of the benchmark."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.began = time.monotonic()
        cache = arguments.cache.absolute()
        self._flax = cache / "flax"
        self._settings = {
            "JAX_PLATFORMS": "cpu" if arguments.cpu_rehearsal else "",
            "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / "torch"),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def run(self) -> dict[str, Any]:
        """Everything that there is time for."""
        arguments = self.arguments
        packages = [name for name in ("jax", "flax", "optax", "torch", "transformers") if has(name)]
        made: dict[str, Any] = contest.about(packages)
        made["settings"] = {name: str(value) for name, value in vars(arguments).items()}
        width = 256 if arguments.cpu_rehearsal else 8192
        multipliers = {}
        for framework in ("jax", *(name for name in ("torch",) if name in arguments.peers)):
            worker = self._worker(f"ceiling {framework}", str(width))
            if "missing" not in (ready := worker.answer()):
                multipliers[framework] = worker
                device = ready["device"]
                check_is_gpu(framework, device, arguments.cpu_rehearsal)
        if "jax" not in multipliers:
            raise SystemExit("gpu.py: this Python has no JAX: run it with one that has")
        results: dict[str, Any] = {"made": made, "device": device, "cases": {}, "left out": []}
        results["ceiling"] = {framework: [] for framework in multipliers}
        for names in self._waves():
            if time.monotonic() - self.began > 60 * arguments.minutes - self._longest(results):
                results["left out"] += names
                continue
            started = time.monotonic()
            contenders = {name: self._started(self.case(name)) for name in names}
            ready = {name: answered(workers) for name, workers in contenders.items()}
            for name in names:
                for framework, worker in multipliers.items():
                    flops = worker.turn("40")["flops"]
                    results["ceiling"][framework].append(flops)
                print(f"... {name}: taking turns", file=sys.stderr, flush=True)
                results["cases"][name] = self._measured(self.case(name), *ready[name])
                results["cases"][name]["minutes"] = (time.monotonic() - started) / 60
                contest.save(results, arguments.out)
                if not self._is_rehearsal:
                    print(report(results) + "\n", file=sys.stderr, flush=True)
        return results

    def case(self, name: str) -> Case:
        """As the arguments want it."""
        case = CASES[name]
        if self.arguments.published:
            case = replace(case, attention_dropout=0.1)
        return replace(case, size="tiny", rows=4) if self.arguments.cpu_rehearsal else case

    def _waves(self) -> Iterator[list[str]]:
        for together in TOGETHER:
            if names := [name for name in together if name in self.arguments.cases]:
                yield names

    def _longest(self, results: Mapping[str, Any]) -> float:
        """Seconds that the longest wave took so far."""
        return 60 * max((case["minutes"] for case in results["cases"].values()), default=0.0)

    def _started(self, case: Case) -> dict[str, contest.Worker]:
        """The contenders of a case, getting ready."""
        has_kernel = not (case.attention_dropout or self._is_rehearsal)
        variants = self.arguments.variants or ("xla auto", "cudnn rbg" if has_kernel else "xla rbg")
        names = [f"jaxbert {v}" for v in variants if has_kernel or v.startswith("xla")]
        names += self.arguments.peers
        print(f"... {case.size} {case.length}: {', '.join(names)}", file=sys.stderr, flush=True)
        return {name: self._worker(name, json.dumps(asdict(case))) for name in names}

    @property
    def _is_rehearsal(self) -> bool:
        return bool(self.arguments.cpu_rehearsal)

    def _worker(self, name: str, subject: str) -> contest.Worker:
        script = Path(__file__).with_name("gpu_contenders.py")
        paths = [str(self._flax)] if name == "flax" else []
        paths += [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = self._settings | {"PYTHONPATH": os.pathsep.join(paths)}
        return contest.Worker([sys.executable, str(script), name, subject], None, settings)

    def _measured(
        self, case: Case, workers: dict[str, contest.Worker], ready: dict[str, Any]
    ) -> dict[str, Any]:
        """Every contender's turns on both kinds of lengths."""
        found: dict[str, Any] = {"case": asdict(case), "contenders": ready, "full": {}, "real": {}}
        counted = {name: Counted(case, name, ready[name]["rows"]) for name in workers}
        for _ in range(self.arguments.turns):
            for lengths in ("full", "real"):
                for name, worker in workers.items():
                    per_step = ready[name]["seconds"][lengths]
                    # Every batch equally often.
                    cycles = max(1, round(self.arguments.seconds / per_step / BATCHES))
                    steps = 2 if self._is_rehearsal else cycles * BATCHES
                    seconds = worker.turn(lengths, str(steps))["seconds"]
                    tokens, flops = counted[name].of(lengths, steps)
                    turns = found[lengths].setdefault(name, {"tokens/s": [], "model FLOP/s": []})
                    turns["tokens/s"].append(tokens / seconds)
                    turns["model FLOP/s"].append(flops / seconds)
        for worker in workers.values():
            worker.end()
        return found


class Counted:
    """Real tokens and model FLOPs of a contender's steps, which are the same for all."""

    def __init__(self, case: Case, name: str, rows: int):
        self._batches = {
            lengths: [
                (real_tokens(batch), model_flops(case, batch))
                for batch in batches(case, lengths, rows, name.startswith("jaxbert"))
            ]
            for lengths in ("full", "real")
        }

    def of(self, lengths: str, steps: int) -> tuple[float, float]:
        """Tokens and FLOPs of so many steps from the first batch on."""
        each = [self._batches[lengths][step % BATCHES] for step in range(steps)]
        return sum(tokens for tokens, _ in each), sum(flops for _, flops in each)


def model_flops(case: Case, batch: Batch) -> float:
    """Of one step."""
    from gpu_contenders import hugging_face

    from jaxbert.families import preset
    from jaxbert.training.flops import train_flops

    return train_flops(replace(preset("bert-base-uncased"), **hugging_face(case)), batch)


def has(package: str) -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec(package) is not None


def check_is_gpu(framework: str, device: str, is_rehearsal: bool) -> None:
    if device == "cpu" and not is_rehearsal:
        raise SystemExit(
            f"gpu.py: {framework} finds no GPU here; run it on a machine with one, or see "
            "--cpu-rehearsal"
        )


def answered(
    workers: Mapping[str, contest.Worker],
) -> tuple[dict[str, contest.Worker], dict[str, Any]]:
    """Those that got ready, and what all said."""
    said, there = {}, {}
    for name, worker in workers.items():
        try:
            answer = worker.answer()
        except contest.Ended:
            answer = {"missing": "it failed, with the reason above"}
        if "ready" in answer and not np.isfinite(list(answer["ready"]["losses"].values())).all():
            answer = {"missing": f"its losses are not finite: {answer['ready']['losses']}"}
            worker.end()
        if "missing" in answer:
            print(f"... {name}: {answer['missing']}", file=sys.stderr, flush=True)
            said[name] = {"missing": answer["missing"]}
        else:
            there[name], said[name] = worker, answer["ready"]
    return there, said


def report(results: Mapping[str, Any]) -> str:
    """A table of all cases, and what there is beside it."""
    ceiling = max((median(turns) for turns in results["ceiling"].values() if turns), default=0.0)
    speeds = ("rows", "real tokens/s", "of the ceiling", "jaxbert is", "target")
    rows: list[Sequence[str]] = [("case", "lengths", "contender", *speeds)]
    for name, found in results["cases"].items():
        for lengths in ("full", "real"):
            rows += lines_of(name, lengths, found, ceiling)
        for contender, said in found["contenders"].items():
            if "missing" in said:
                rows.append((name, "", contender, "", f"missing: {said['missing']}", "", "", ""))
    lines = [contest.table(rows)]
    for framework, turns in results["ceiling"].items():
        if turns:
            teraflops = contest.spread([flops / 1e12 for flops in turns], 1)
            lines.append(f"ceiling by {framework}: {teraflops} TFLOP/s")
    if results["left out"]:
        lines.append(f"not measured, out of --minutes: {', '.join(results['left out'])}")
    return "\n\n".join(lines)


def lines_of(
    case: str, lengths: str, found: Mapping[str, Any], ceiling: float
) -> list[Sequence[str]]:
    """Rows of the table; jaxbert's fastest variant is the one that is compared."""
    turns = found[lengths]
    ours = [name for name in turns if name.startswith("jaxbert")]
    if not ours:
        return []
    fastest = max(ours, key=lambda name: median(turns[name]["tokens/s"]))
    lines: list[Sequence[str]] = []
    for name, figures in turns.items():
        share = median(figures["model FLOP/s"]) / ceiling
        ratio = contest.times(turns[fastest]["tokens/s"], figures["tokens/s"])
        is_goal = name == fastest and lengths == "real"
        goal = verdict(share, OF_CEILING.get(case), "of the ceiling") if is_goal else ""
        if name == "torch":
            goal = verdict(ratio, OF_TORCH[lengths], "x")
        speed = contest.spread(figures["tokens/s"])
        rows = str(found["contenders"][name]["rows"])
        beside = "" if name == fastest else f"{ratio:.2f} x"
        lines.append((case, lengths, name, rows, speed, f"{share:.1%}", beside, goal))
    return lines


def verdict(found: float, target: float | None, unit: str) -> str:
    if target is None:
        return ""
    return f"{target} {unit}: {'met' if found >= target else 'MISSED'}"


if __name__ == "__main__":
    main()
