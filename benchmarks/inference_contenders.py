"""The contenders of inference.py: each makes two functions of texts, to logits and to labels.

python benchmarks/inference_contenders.py CONTENDER DIRECTORY

DIRECTORY holds a classifier in Hugging Face's layout, `model.onnx` and `requests.json`. Says
`{"logits": ...}` of some texts when all requests were answered once, then for every line on its
input, `[WAY, CASE, SECONDS]`, what answering that case's requests for so long took.
`make KIND DIRECTORY` writes the model, `export PACKAGES DIRECTORY` the ONNX file, with `onnx` from
the site-packages PACKAGES.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

LABELS, LONGEST = ("no", "yes"), 512
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Contender(NamedTuple):
    """What is asked of a framework."""

    prepare: Callable[[list[str]], Any]
    """Texts to what `forward` takes; its time does not count."""
    forward: Callable[[Any], np.ndarray]
    """Logits, on the host."""
    label: Callable[[list[str]], list[Any]]
    """Texts to labels with probabilities."""


def jaxbert(directory: Path) -> Contender:
    """The Predictor; and the model under jax.jit, with rows as wide as the Predictor has them."""
    import jax

    import jaxbert
    from jaxbert.data.buckets import standard_lengths
    from jaxbert.hub.load import load_params
    from jaxbert.nn.functional import make_apply
    from jaxbert.text.tokenizer import load_tokenizer

    loaded, tokenizer = load_params(directory), load_tokenizer(directory)
    apply = make_apply(loaded.config, loaded.head)
    step = jax.jit(lambda params, *inputs: apply(params, *inputs).logits)
    params = jax.device_put(loaded.params)
    widths = standard_lengths(LONGEST)

    def prepare(texts: list[str]) -> Any:
        encoded = tokenizer.encode(texts)
        needed = encoded["input_ids"].shape[1]
        room = int(widths[np.searchsorted(widths, needed)]) - needed
        return [np.pad(encoded[name], ((0, 0), (0, room))) for name in INPUTS]

    predictor = jaxbert.Predictor(directory)
    return Contender(prepare, lambda inputs: np.asarray(step(params, *inputs)), predictor)


def torch(directory: Path) -> Contender:
    """transformers' AutoModelForSequenceClassification and AutoTokenizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(1)
    given = {"attn_implementation": "sdpa", "dtype": torch.float32}
    model = AutoModelForSequenceClassification.from_pretrained(directory, **given).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def prepare(texts: list[str]) -> Any:
        return tokenizer(texts, padding=True, truncation=True, return_tensors="pt")

    def label(texts: list[str]) -> list[Any]:
        with torch.inference_mode():
            probabilities = model(**prepare(texts)).logits.softmax(-1)
        return labelled(probabilities.numpy())

    def forward(inputs: Any) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = model(**inputs).logits.numpy()
        return logits

    return Contender(prepare, forward, label)


def onnxruntime(directory: Path) -> Contender:
    """All of its optimisations of graphs; the tokenizer is the one of Hugging Face's library."""
    import onnxruntime
    import tokenizers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    path = str(directory / "model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(LONGEST)

    def prepare(texts: list[str]) -> dict[str, np.ndarray]:
        rows = tokenizer.encode_batch(texts)
        of_rows = [(row.ids, row.attention_mask, row.type_ids) for row in rows]
        return dict(zip(INPUTS, np.array(of_rows, np.int64).transpose(1, 0, 2), strict=True))

    def forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = session.run(None, inputs)[0]
        return logits

    def label(texts: list[str]) -> list[Any]:
        logits = forward(prepare(texts))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return labelled(powers / powers.sum(axis=1, keepdims=True))

    return Contender(prepare, forward, label)


def labelled(probabilities: np.ndarray) -> list[Any]:
    """As the Predictor says it."""
    return [
        {"label": LABELS[row.argmax()], "scores": dict(zip(LABELS, row.tolist(), strict=True))}
        for row in probabilities
    ]


def make(kind: str, directory: Path) -> None:
    """Writes model and tokenizer; the classifier, and all of `base`, are random."""
    import jax
    from inference import model_of_package

    from jaxbert.families import preset
    from jaxbert.hub.load import load_params
    from jaxbert.hub.save import save_params
    from jaxbert.nn.functional import init_params
    from jaxbert.nn.head import Head
    from jaxbert.text.tokenizer import load_tokenizer

    head, package = Head("sequence_classification", LABELS), model_of_package()
    if kind == "base":
        config = preset("bert-base-uncased")
        params = init_params(config, head, 0)
    else:
        loaded = load_params(package, head=head)
        config, params = loaded.config, loaded.params
    # Of fresh numbers the logits are too small to show a mistake.
    params["classifier"] = jax.tree.map(lambda x: 20 * x, params["classifier"])
    tokenizer = load_tokenizer(package)
    save_params(params, config, head, tokenizer, directory, overwrite=True)


def export(directory: Path) -> None:
    """torch.onnx of transformers' model, with rows and length as they come."""
    import torch
    from transformers import AutoModelForSequenceClassification

    # Of tracing; that the logits are right for other shapes is checked.
    warnings.simplefilter("ignore")
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, attn_implementation="sdpa", dtype=torch.float32
    ).eval()
    example = tuple(torch.ones((2, 16), dtype=torch.long) for _ in INPUTS)
    torch.onnx.export(
        model,
        example,
        str(directory / "model.onnx"),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in INPUTS},
        dynamo=False,
    )


def main() -> None:
    name, directory = sys.argv[1], Path(sys.argv[-1])
    if name in ("make", "export"):
        if name == "make":
            make(sys.argv[2], directory)
        else:
            sys.path.append(sys.argv[2])
            assert find_spec("onnx")
            export(directory)
        return
    requests = json.loads((directory / "requests.json").read_text(encoding="utf-8"))
    contender: Contender = globals()[name](directory)
    prepared = {
        case: [contender.prepare(texts) for texts in some] for case, some in requests.items()
    }
    for case, some in requests.items():
        for texts, inputs in zip(some, prepared[case], strict=True):
            logits = contender.forward(inputs)
            contender.label(texts)
    print(json.dumps({"logits": logits.tolist()}), flush=True)
    for line in sys.stdin:
        way, case, seconds = json.loads(line)
        answer: Callable[[Any], Any]
        if way == "tokens":
            answer, given = contender.forward, prepared[case]
        else:
            answer, given = contender.label, requests[case]
        print(json.dumps(turn(answer, given, len(requests[case][0]), seconds)), flush=True)


def turn(
    answer: Callable[[Any], Any], requests: list[Any], size: int, seconds: float
) -> dict[str, Any]:
    """One request after another, each of the different ones equally often."""
    latencies: list[float] = []
    cpu, began = time.process_time(), time.perf_counter()
    while not latencies or time.perf_counter() - began < seconds:
        for request in requests:
            asked = time.perf_counter()
            answer(request)
            latencies.append(time.perf_counter() - asked)
    spent = time.process_time() - cpu
    return {"predictions": size * len(latencies), "cpu": spent, "latencies": latencies}


if __name__ == "__main__":
    main()
