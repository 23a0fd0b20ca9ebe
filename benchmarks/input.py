"""The input pipeline: jaxbert's token store beside transformers' collator over `datasets`.

python benchmarks/input.py CORPUS.jsonl.xz [--megabytes 12] [--tokenizer DIR] [--out FILE.json]

One process on one core with one thread, everything in turn, several times; figures are medians
(lowest to highest) per second of that core's time, so that other work on the machine counts little.
The corpus is what `jaxbert prepare` reads; without --tokenizer a WordPiece vocabulary of 30,000 is
trained on it first, for both.

preparing   text to a token store by `prepare` (sentences split, checksums), beside
            `load_dataset("json")` and `map` with the same tokenizer, batched
batches     random rows from the store or the cache to a masked batch on the host, 15 % of the
            tokens masked. Tokens are counted without padding.

unpacked    an example a row: documents cut to the length, padded to it
packed      jaxbert: several examples a row, apart from each other; transformers: documents joined
            and cut regardless of where they end (`group_texts` of its example run_mlm.py), which
            leaves nothing to pad and attends across documents

Of the peer every setting in input_peer.py is measured: the format of the dataset, and what the
collator returns. Ratios are to the fastest of them, and to "lists, pt", which run_mlm.py and the
Trainer use; the targets are held against the fastest. "whole batches" is no setting of the collator
but a loop of one's own around its masking, which rows that are all full allow; it stands there for
comparison, without a ratio. jaxbert's pairs for next-sentence prediction have no peer at all.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from input_peer import HAND_WRITTEN, USUAL, Peer

from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.problems import Problems
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.data.store import TokenStore
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece

LENGTHS = (128, 512)
BATCH_SIZE = 256
SECONDS = 0.5
"""Batches are made for at least this long before the next contender's turn."""
VOCAB_SIZE = 30_000
ONE_THREAD = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "RAYON")},
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
TARGETS = {"least times as fast": 10, "tokens/s at 512, packed": 500_000, "bytes per token": 2.2}

Figures = dict[str, list[float]]
MakeBatch = Callable[[], tuple[int, int]]
"""Makes the next batch: its tokens without padding, and its positions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="+", help="as for `jaxbert prepare`")
    parser.add_argument("--megabytes", type=float, default=12, help="of text, at most")
    parser.add_argument("--tokenizer", help="directory, for both")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    keep_to_one_core()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        text = write_text(arguments.corpus, scratch / "text.jsonl", arguments.megabytes * 1e6)
        say(f"{text / 1e6:.1f} MB of text")
        write_tokenizer(arguments.tokenizer, scratch)
        results = measure(scratch, text, arguments.repeats)
    report(results)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def keep_to_one_core() -> None:
    """Starts again where threads would be several: libraries count them when they are imported."""
    if ONE_THREAD.items() <= os.environ.items():
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)


def write_text(specs: list[str], path: Path, limit: float) -> int:
    """Writes documents as JSON lines, which both read; the bytes of their text."""
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        for source in resolve_sources(specs, SourceOptions()):
            for document in source.read(Problems(), lambda _: None):
                if size < limit:
                    file.write(json.dumps({"text": document.text}) + "\n")
                    size += len(document.text.encode())
    return size


def write_tokenizer(given: str | None, scratch: Path) -> None:
    if given is None:
        say(f"training a vocabulary of {VOCAB_SIZE:,}")
        with open(scratch / "text.jsonl", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        tokenizer = train_wordpiece(texts, VOCAB_SIZE)
    else:
        tokenizer = load_tokenizer(given)
    save_tokenizer(tokenizer, scratch / "tokenizer")


def measure(scratch: Path, text: int, repeats: int) -> dict[str, Any]:
    peer = Peer(scratch, BATCH_SIZE)
    preparing: Figures = {"jaxbert": [], "datasets": []}
    for repeat in range(max(1, repeats // 2)):
        say(f"preparing, {repeat + 1}")
        preparing["jaxbert"].append(text / 1e6 / core_seconds(lambda: make_store(scratch)))
        preparing["datasets"].append(text / 1e6 / core_seconds(peer.tokenize))
    store = TokenStore.open(scratch / "store")
    results: dict[str, Any] = {
        "made": about_this_machine(),
        "text_bytes": text,
        "tokens": store.num_tokens,
        "batch_size": BATCH_SIZE,
        "preparing_mb_per_second": preparing,
        "bytes_per_token": {
            "jaxbert": store_bytes(store.path) / store.num_tokens,
            "datasets": peer.cache_bytes() / peer.num_tokens,
        },
        "batches": {},
    }
    for length in LENGTHS:
        for is_packed in (False, True):
            say(f"batches of length {length}, {'packed' if is_packed else 'unpacked'}")
            contenders = ours(store, length, is_packed) | peer.contenders(length, is_packed)
            key = f"{length} {'packed' if is_packed else 'unpacked'}"
            results["batches"][key] = take_turns(contenders, repeats)
    return results


def make_store(scratch: Path) -> None:
    options = PrepareOptions(tokenizer=str(scratch / "tokenizer"), processes=1, overwrite=True)
    prepare([str(scratch / "text.jsonl")], scratch / "store", options)


def store_bytes(path: Path) -> int:
    """All files but the tokenizer, whose size does not depend on the corpus."""
    files = (file for file in path.rglob("*") if file.is_file())
    return sum(f.stat().st_size for f in files if "tokenizer" not in f.relative_to(path).parts)


def ours(store: TokenStore, length: int, is_packed: bool) -> dict[str, MakeBatch]:
    return {
        "jaxbert": batches(store, length, is_packed, "none"),
        "jaxbert, pairs": batches(store, length, is_packed, "next_sentence"),
    }


def batches(store: TokenStore, length: int, is_packed: bool, pairs: Any) -> MakeBatch:
    config = PretrainingDataConfig(max_seq_length=length, sentence_pairs=pairs, packing=is_packed)
    data = PretrainingData(store, config, seed=0)
    steps = iter(range(2**62))

    def make() -> tuple[int, int]:
        step = next(steps)
        batch = data.rows(step * BATCH_SIZE + np.arange(BATCH_SIZE), step)
        mask = batch["sequence_ids" if is_packed else "attention_mask"]
        return int((mask > 0).sum()), mask.size

    return make


def take_turns(contenders: dict[str, MakeBatch], repeats: int) -> dict[str, Any]:
    speeds: Figures = {name: [] for name in contenders}
    filled = {}
    for repeat in range(repeats + 1):
        for name, make in contenders.items():
            began, tokens, positions = time.process_time(), 0, 0
            while (spent := time.process_time() - began) < SECONDS:
                more = make()
                tokens, positions = tokens + more[0], positions + more[1]
            # The first turn opens files and fills caches.
            if repeat:
                speeds[name].append(tokens / spent)
            filled[name] = tokens / positions
    return {"tokens_per_second": speeds, "filled": filled}


def core_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def about_this_machine() -> dict[str, Any]:
    packages = ("jaxbert", "numpy", "tokenizers", "transformers", "datasets", "torch", "pyarrow")
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "machine": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores_used": 1,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def report(results: dict[str, Any]) -> None:
    made = results["made"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    print(f"{made['date']}, one core of {made['machine']}, Python {made['python']}, {versions}\n")
    preparing, size = results["preparing_mb_per_second"], results["bytes_per_token"]
    row("preparing, MB/s", "jaxbert", preparing["jaxbert"], ratio(preparing))
    row("", "datasets", preparing["datasets"])
    print(f"{'bytes per token':24}{'jaxbert':26}{size['jaxbert']:>10.2f}")
    print(f"{'':24}{'datasets':26}{size['datasets']:>10.2f}")
    for key, found in results["batches"].items():
        speeds, filled = found["tokens_per_second"], found["filled"]
        best = fastest_setting(speeds)
        against = [{"jaxbert": speeds["jaxbert"], "datasets": speeds[n]} for n in (best, USUAL)]
        for number, (name, values) in enumerate(speeds.items()):
            note = f"{ratio(against[0])} {best}; {ratio(against[1])} {USUAL}"
            note = note if name == "jaxbert" else ""
            title = f"{key}, tokens/s" if number == 0 else ""
            row(title, name, values, f"{filled[name]:7.1%} filled  {note}")
    print("\n" + "\n".join(targets(results)))


def row(title: str, name: str, values: list[float], note: str = "") -> None:
    middle, low, high = statistics.median(values), min(values), max(values)
    digits = 0 if middle > 1000 else 2
    spread = f"({low:,.{digits}f} to {high:,.{digits}f})"
    print(f"{title:24}{name:26}{middle:>10,.{digits}f} {spread:25}{note}")


def ratio(pair: Figures) -> str:
    return f"{quotient(pair):.1f} times"


def quotient(pair: Figures) -> float:
    return statistics.median(pair["jaxbert"]) / statistics.median(pair["datasets"])


def fastest_setting(speeds: Figures) -> str:
    settings = [n for n in speeds if not n.startswith("jaxbert") and n != HAND_WRITTEN]
    return max(settings, key=lambda name: statistics.median(speeds[name]))


def targets(results: dict[str, Any]) -> list[str]:
    speeds = {key: found["tokens_per_second"] for key, found in results["batches"].items()}
    least = min(
        quotient({"jaxbert": its["jaxbert"], "datasets": its[fastest_setting(its)]})
        for its in speeds.values()
    )
    reached = (
        least,
        statistics.median(speeds["512 packed"]["jaxbert"]),
        results["bytes_per_token"]["jaxbert"],
    )
    lines = []
    for (name, target), value in zip(TARGETS.items(), reached, strict=True):
        is_met = value <= target if name == "bytes per token" else value >= target
        shown = f"{value:,.0f}" if value > 1000 else f"{value:.2f}"
        lines.append(f"{name}: {shown}, target {target:,}: {'met' if is_met else 'MISSED'}")
    return lines


def say(line: str) -> None:
    print(f"... {line}", flush=True)


if __name__ == "__main__":
    main()
