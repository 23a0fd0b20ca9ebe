"""The table of docs/parity.md: every family and head, in and out of every format, measured.

    python benchmarks/parity.py --out docs/parity.md

Models are random and small, of odd sizes, made by transformers' PyTorch classes as in the tests
(`tests/hub/torch_models.py`); inputs are padded rows of 64 tokens with both sentence types.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "hub"))

import flax
import flax.serialization
import there_and_back as parity
import torch
import transformers
from rich.progress import track
from tensor_bundles import write_bundle
from torch_models import make_torch_model

import jaxbert
from jaxbert.families import FAMILIES
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import save_pretrained
from jaxbert.nn.functional import functional
from jaxbert.tree import flat

HAD_FLAX = (
    *("bert", "roberta", "xlm-roberta", "roberta-prelayernorm"),
    *("albert", "distilbert", "electra"),
)
COLUMNS = {
    "class": "transformers' class",
    "states": "hidden states",
    "outputs": "outputs of the head",
    "gradients": "gradients, relative",
    "sharded": "in: shards",
    "bin": "in: pytorch_model.bin",
    "flax": "in: flax_model.msgpack",
    "tensorflow": "in: TensorFlow 1",
    "float32": "out: float32",
    "bfloat16": "out: bfloat16",
    "shards": "out: shards",
    "orbax": "out: Orbax",
    "again": "second round trip",
}
LEGEND = """\
Each figure is the largest absolute difference of any element, from one run of

    {command}

with {versions}. A dash: there is no such format for the class.

- **hidden states, outputs of the head**: jaxbert against transformers in PyTorch, float32, at the
  positions that are not padding (limit of the tests: 2e-5, relative where values exceed 1).
- **gradients**: of one random weighted sum of all outputs, for every parameter: the largest
  difference over the largest gradient of that parameter (limit 1e-4; parameters whose gradient is
  zero in exact arithmetic are left out).
- **in**: parameters read from the format against those read from `model.safetensors`; 0 = bit for
  bit. `flax_model.msgpack` is written by Flax's own serialisation, with the names that
  transformers' Flax classes had; TensorFlow 1 by an independent writer of its format (a checkpoint
  that TensorFlow wrote is among the tests).
- **out**: what we save, opened by transformers, against the same model here; bfloat16 weights are
  computed with in float32 on both sides. Orbax is opened by jaxbert.
- **second round trip**: whether the second export is the first, byte for byte.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="Markdown file to write (default: print)")
    parser.add_argument("--family", choices=FAMILIES, help="only this family")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    cases = [
        (family.model_type, name)
        for family in FAMILIES.values()
        for name in family.architectures
        if arguments.family in (None, family.model_type)
    ]
    rows = []
    for model_type, architecture in track(cases, description="classes"):
        with tempfile.TemporaryDirectory() as scratch:
            rows.append((model_type, measure(model_type, architecture, Path(scratch))))
    text = render(rows)
    if arguments.out:
        Path(arguments.out).write_text(text, encoding="utf-8")
    else:
        print(text)


def measure(model_type: str, architecture: str, scratch: Path) -> dict[str, str]:
    """One row of the table."""
    model = make_torch_model(architecture)
    model.save_pretrained(scratch / "theirs")
    ours = from_pretrained(scratch / "theirs")
    batch = parity.batch_for(ours.head.kind, ours, 3, 64)
    found, gradients, theirs, their_gradients = parity.both(model, ours, batch)
    mask = batch["attention_mask"].reshape(-1, 64).astype(bool)
    by_name = {name: difference(found[name], theirs[name], mask) for name in theirs}
    states = [value for name, value in by_name.items() if name.startswith("layer")]
    heads = [value for name, value in by_name.items() if not name.startswith("layer")]
    row = {
        "class": f"`{architecture}`",
        "states": number(max(states)),
        "outputs": number(max(heads)) if heads else "-",
        "gradients": number(gradient_difference(gradients, their_gradients)),
    }
    return row | read_back(model_type, model, scratch) | written(model, ours, batch, scratch)


def read_back(model_type: str, model: Any, scratch: Path) -> dict[str, str]:
    """Every format in which the same weights can lie."""
    expected = load_params(scratch / "theirs").params

    def compare(write: Callable[[Path], None]) -> str:
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            directory = Path(name)
            for file in (scratch / "theirs").glob("*.json"):
                (directory / file.name).write_bytes(file.read_bytes())
            write(directory)
            loaded = flat(load_params(directory).params)
        return number(max(np.abs(loaded[p] - x).max() for p, x in flat(expected).items()))

    def flax_file(directory: Path) -> None:
        tree = flax.traverse_util.unflatten_dict(flax_leaves(model))
        (directory / "flax_model.msgpack").write_bytes(flax.serialization.to_bytes(tree))

    return {
        "sharded": compare(lambda d: model.save_pretrained(d, max_shard_size="10KB")),
        "bin": compare(lambda d: torch.save(model.state_dict(), d / "pytorch_model.bin")),
        "flax": compare(flax_file) if model_type in HAD_FLAX else "-",
        "tensorflow": (
            compare(lambda d: write_bundle(d / "bert_model.ckpt", google_tensors(model)))
            if type(model).__name__ in GOOGLES
            else "-"
        ),
    }


def written(model: Any, ours: Any, batch: Any, scratch: Path) -> dict[str, str]:
    """Every format that we write."""

    def compare(name: str, **options: Any) -> str:
        save_pretrained(ours, None, scratch / name, **options)
        kept = from_pretrained(scratch / name)
        opened = type(model).from_pretrained(scratch / name, dtype=torch.float32).eval()
        with torch.no_grad():
            theirs = parity.run_theirs(opened, batch)
        found = run(kept, batch)
        mask = batch["attention_mask"].reshape(-1, 64).astype(bool)
        return number(max(difference(found[name], theirs[name], mask) for name in theirs))

    row = {
        "float32": compare("float32"),
        "bfloat16": compare("bfloat16", dtype="bfloat16"),
        "shards": compare("shards", max_shard_size="10KB"),
    }
    save_pretrained(ours, None, scratch / "orbax", layout="orbax")
    one, other = (flat(load_params(scratch / name).params) for name in ("orbax", "float32"))
    row["orbax"] = number(max(np.abs(one[path] - other[path]).max() for path in one))
    save_pretrained(from_pretrained(scratch / "float32"), None, scratch / "again")
    first, second = (
        (scratch / name / "model.safetensors").read_bytes() for name in ("float32", "again")
    )
    return row | {"again": "identical" if first == second else "DIFFERS"}


def run(model: Any, batch: Any) -> dict[str, Any]:
    apply, params = functional(model)
    output = jax.jit(lambda p: apply(p, **batch, capture=("hidden_states",)))(params)
    return parity.our_outputs(output)


def difference(ours: Any, theirs: Any, mask: np.ndarray) -> float:
    value, expected = np.asarray(ours), theirs.detach().numpy()
    if value.shape[:2] == mask.shape:
        value, expected = value[mask], expected[mask]
    return float(np.abs(value - expected).max())


def gradient_difference(ours: dict[str, np.ndarray], theirs: dict[str, Any]) -> float:
    acting = {name: x.numpy() for name, x in theirs.items() if x is not None}
    largest = max(np.abs(gradient).max() for gradient in acting.values())
    return max(
        float(np.abs(ours[name] - expected).max() / np.abs(expected).max())
        for name, expected in acting.items()
        if np.abs(expected).max() > 1e-4 * largest
    )


def flax_leaves(model: Any) -> dict[tuple[str, ...], np.ndarray]:
    """The parameters of a PyTorch model as transformers' Flax classes held them."""
    leaves = {}
    for name, parameter in model.named_parameters():
        *modules, leaf = name.split(".")
        array = parameter.detach().numpy()
        if leaf == "weight" and modules[-1].endswith("embeddings"):
            leaf = "embedding"
        elif leaf == "weight" and array.ndim == 1:
            leaf = "scale"
        elif leaf == "weight":
            leaf, array = "kernel", np.ascontiguousarray(array.T)
        leaves[(*modules, leaf)] = array
    return leaves


GOOGLES = ("BertForPreTraining", "BertForMaskedLM", "BertForSequenceClassification")
"""What google-research/bert's scripts leave behind."""


def google_tensors(model: Any) -> dict[str, np.ndarray]:
    """A PyTorch BERT in the variables of Google's code."""
    variables = {}
    for name, parameter in model.named_parameters():
        array = parameter.detach().numpy()
        name = re.sub(r"\.layer\.(\d+)", r".layer_\1", name).replace(".", "/")
        name = re.sub(r"^classifier/", "output_", name).replace("output_weight", "output_weights")
        name = name.replace("LayerNorm/weight", "LayerNorm/gamma")
        name = name.replace("LayerNorm/bias", "LayerNorm/beta")
        name = name.replace("_embeddings/weight", "_embeddings")
        name = name.replace("predictions/bias", "predictions/output_bias")
        name = re.sub(r"seq_relationship/(weight|bias)$", r"seq_relationship/output_\1", name)
        name = re.sub(r"output_weight$", "output_weights", name)
        if name.endswith("/weight"):
            name, array = name.removesuffix("/weight") + "/kernel", array.T
        variables[name] = np.ascontiguousarray(array)
    return variables


def number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


def render(rows: list[tuple[str, dict[str, str]]]) -> str:
    versions = ", ".join(
        f"{module.__name__} {module.__version__}"
        for module in (jaxbert, jax, flax, torch, transformers)
    )
    legend = LEGEND.format(
        command="python benchmarks/parity.py --out docs/parity.md", versions=versions
    )
    lines = ["# Every family, in and out of every format", "", legend]
    for model_type in dict.fromkeys(name for name, _ in rows):
        lines += [f"## {model_type}", "", "| " + " | ".join(COLUMNS.values()) + " |"]
        lines.append("|" + "---|" * len(COLUMNS))
        for name, row in rows:
            if name == model_type:
                lines.append("| " + " | ".join(row[column] for column in COLUMNS) + " |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
