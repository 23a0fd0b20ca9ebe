"""Real tokens per second from the token store to the updated parameters.

python benchmarks/end_to_end.py CORPUS.jsonl.xz... [--tokenizer DIR] [--out FILE.json]

The corpus is what `jaxbert prepare` reads. A mini BERT (4 x 256) is trained as a masked LM on rows
of at most 512 tokens, on one core, dropout and all: figures are tokens that are not padding per
second of a process's own CPU time, its loader's included, with wall time beside it, medians of the
turns (lowest to highest). A turn is the same number of steps on batches that come next.

packed      jaxbert, several examples a row
padded      jaxbert, one example a row, of the same number of rows; documents longer than a row are
            cut into several
torch       transformers' BertForMaskedLM with fused AdamW on documents cut alike by its tokenizer,
            read by `datasets` and torch's DataLoader, each batch padded to its longest row

How much packing can give is the share of positions that are filled: it is printed beside what it
gave. `waiting` is the time in which the step waited for the next batch.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import contest
from input import make_store, write_text, write_tokenizer

CONTENDERS = ("packed", "padded", "torch float32", "torch bfloat16")
TARGETS = {"packed over padded": 1.8, "waiting": 0.01}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="+", help="as for `jaxbert prepare`")
    parser.add_argument("--megabytes", type=float, default=4, help="of text, at most")
    parser.add_argument("--tokenizer", help="directory of one, for all")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--rows", type=int, default=8, help="of a batch")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="in a turn")
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"made": contest.about(("jax", "torch", "transformers", "datasets"))}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_text(arguments.corpus, scratch / "text.jsonl", arguments.megabytes * 1e6)
        write_tokenizer(arguments.tokenizer, scratch)
        make_store(scratch)
        results["turns"] = measure(scratch, arguments)
    contest.save(results, arguments.out)
    print(contest.described(results["made"]) + "\n")
    print(report(results["turns"]))


def measure(scratch: Path, arguments: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """What every turn of every contender took and saw."""
    script, workers = Path(__file__).with_name("end_to_end_contenders.py"), {}
    cores = contest.cores()
    for number, name in enumerate(arguments.contenders):
        command = [sys.executable, str(script), name, str(scratch), str(arguments.rows)]
        workers[name] = contest.Worker(command, cores[number % len(cores)])
    for name, worker in workers.items():
        print(f"... {name} is ready after {worker.answer()['ready']:.0f} CPU-s", file=sys.stderr)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(arguments.turns):
        for name, worker in workers.items():
            turns[name].append(worker.turn(str(arguments.steps)))
    for worker in workers.values():
        worker.end()
    return turns


def report(turns: Mapping[str, list[dict[str, float]]]) -> str:
    """A table, and the targets."""
    speeds = {n: [turn["tokens"] / turn["cpu"] for turn in its] for n, its in turns.items()}
    rows = [("", "tokens per CPU-second", "per second", "filled", "waiting", "packed is")]
    for name, its in turns.items():
        walls = [turn["tokens"] / turn["wall"] for turn in its]
        ratio = contest.times(speeds["packed"], speeds[name])
        rows.append(
            (
                name,
                contest.spread(speeds[name]),
                contest.spread(walls),
                f"{filled(its):.1%}",
                f"{median(turn['waited'] / turn['wall'] for turn in its):.2%}",
                "" if name == "packed" else f"{ratio:.2f} x",
            )
        )
    gained = contest.times(speeds["packed"], speeds["padded"])
    most = filled(turns["packed"]) / filled(turns["padded"])
    waited = median(turn["waited"] / turn["wall"] for turn in turns["packed"])
    lines = [
        f"packed over padded: {gained:.2f}, target {TARGETS['packed over padded']}: "
        f"{'met' if gained >= TARGETS['packed over padded'] else 'MISSED'} (of these rows "
        f"{most:.2f} times as many positions are filled)",
        f"waiting: {waited:.2%}, target {TARGETS['waiting']:.0%}: "
        f"{'met' if waited <= TARGETS['waiting'] else 'MISSED'}",
    ]
    return contest.table(rows) + "\n\n" + "\n".join(lines)


def filled(turns: list[dict[str, float]]) -> float:
    """The share of positions that are not padding."""
    return sum(turn["tokens"] for turn in turns) / sum(turn["positions"] for turn in turns)


if __name__ == "__main__":
    main()
