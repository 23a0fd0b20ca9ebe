"""Evaluation and prediction with a finished model, from nothing but its directory or run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import scipy.special

from jaxbert.config import parse_config
from jaxbert.data.buckets import BucketedRows
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.reading import Reading
from jaxbert.data.store import TokenStore
from jaxbert.data.stream import evaluation_batches
from jaxbert.errors import UserError
from jaxbert.experiment.checks import check_vocabulary
from jaxbert.experiment.finetune import labelled_features, per_text
from jaxbert.experiment.run_directory import read_run_config
from jaxbert.families import family_of
from jaxbert.hub.load import Pretrained, load_params
from jaxbert.hub.save import check_tokenizer
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import make_apply
from jaxbert.nn.head import Head
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding, put_batch, row_shards, shardings
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.sentences import SentenceColumns, Sentences, read_sentences, token_features
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.task import Task, run_model
from jaxbert.tasks.windowed import combine_windows
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer
from jaxbert.training.evaluation import evaluate
from jaxbert.training.step import jit_evaluation_step, make_evaluation_step
from jaxbert.typing import Array, Batch, HostBatch, Params

T = TypeVar("T")


@dataclass(frozen=True)
class Ready:
    """A model with its parameters on the devices."""

    loaded: Pretrained
    tokenizer: Tokenizer
    params: Params
    mesh: jax.sharding.Mesh
    dtype: Any
    batch_size: int
    """Rows per batch: what was asked for, rounded up to a multiple of the devices."""
    run_config: Mapping[str, Any]
    """Configuration of the run that made the model; {} where it is not known."""


def ready(model: str | Path, *, batch_size: int = 32, dtype: str = "float32") -> Ready:
    """Opens a model directory, run directory or hub id for inference."""
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: must be at least 1")
    loaded = load_params(model)
    tokenizer = load_tokenizer(loaded.directory)
    check_tokenizer(tokenizer, loaded.config)
    mesh = make_mesh(MeshConfig())
    shards = row_shards(mesh)
    return Ready(
        loaded=loaded,
        tokenizer=tokenizer,
        params=jax.device_put(loaded.params, shardings(loaded.params, mesh)),
        mesh=mesh,
        dtype=np.dtype(dtype),
        batch_size=-(-batch_size // shards) * shards,
        run_config=read_run_config(model) or {},
    )


def columns_of(
    model: Ready, text: str | None, text_pair: str | None, label: str | None
) -> SentenceColumns:
    """The columns to read: as asked, else as in the model's run, else the defaults."""
    made_with = model.run_config.get("task", {}).get("columns", {})
    asked = {"text": text, "text_pair": text_pair, "label": label}
    known = {name: made_with[name] for name in asked if name in made_with}
    return SentenceColumns(**(known | {k: v for k, v in asked.items() if v is not None}))


def reading_of(model: Ready, max_seq_length: int, **asked: Any) -> Reading:
    """What to read of a text: as asked (where not None), else as in the model's run.

    `asked`: truncation, head_share, and windows' stride and combine.
    """
    names = ("truncation", "head_share", "windows")
    settings = {name: model.run_config[name] for name in names if name in model.run_config}
    given = {name: value for name, value in asked.items() if value is not None}
    windows = {name: given.pop(name) for name in ("stride", "combine") if name in given}
    if windows:
        settings["windows"] = (settings.get("windows") or {}) | windows
        settings.pop("truncation", None)
    elif "truncation" in given:
        settings.pop("windows", None)
    settings |= given | {"max_seq_length": max_seq_length}
    return parse_config(Reading, settings, origin="options")


def evaluate_classifier(
    model: Ready, data: str, columns: SentenceColumns, reading: Reading
) -> dict[str, float]:
    """Metrics over a labelled table; every row counts once."""
    task = _classification(model)
    sentences = read_sentences(data, columns, labelled=True)
    features = labelled_features(sentences, task, model.tokenizer, reading)
    batches = _batches(model, features, reading.max_seq_length)
    metrics = _evaluate(model, per_text(task, reading.windows), batches)
    return metrics | {"rows": len(sentences.rows)}


def evaluate_masked_lm(model: Ready, store_path: str) -> dict[str, float]:
    """Loss, perplexity and accuracy over a token store, with fixed pairs and masks.

    Over the whole of it; over what was held out, if it is the store that the run trained on.
    Examples are cut as in the model's run where that is known.
    """
    head = model.loaded.head
    if head.kind == "replaced_token_detection":
        raise UserError(
            f"{model.loaded.directory}: a discriminator is evaluated in its run, beside its "
            "generator (metrics.jsonl); the generator alone is a masked LM: give RUN/generator"
        )
    if not head.has_masked_lm:
        raise UserError(f"{model.loaded.directory}: its head is {head.kind!r}, not a masked LM")
    store = TokenStore.open(store_path)
    if store.vocab_size != model.loaded.config.vocab_size:
        raise UserError(
            f"{store_path} has a vocabulary of {store.vocab_size}, the model one of "
            f"{model.loaded.config.vocab_size}: prepare the store with the model's tokenizer"
        )
    made_with = load_tokenizer(store.tokenizer_directory)
    check_vocabulary(store.path, made_with, model.loaded.directory)
    settings = dict(model.run_config.get("data", {}))
    if not head.has_next_sentence:
        settings["sentence_pairs"] = "none"
    settings.setdefault("sentence_pairs", family_of(model.loaded.config.model_type).sentence_pairs)
    if not (_is_trained_on(model, store_path) and settings.get("validation_fraction")):
        settings["validation_fraction"] = 1.0
    settings.setdefault("max_seq_length", min(128, longest_input(model.loaded.config)))
    config = parse_config(PretrainingDataConfig, settings, origin="data")
    data = PretrainingData(store, config, 0, split="validation")
    task = MaskedLanguageModelling(config.sentence_pairs)
    batches = evaluation_batches(data, model.batch_size)
    return _evaluate(model, task, batches) | {"rows": data.num_examples}


def _is_trained_on(model: Ready, store_path: str) -> bool:
    stores = model.run_config.get("store", [])
    paths = [stores] if isinstance(stores, str) else [entry["path"] for entry in stores]
    return Path(store_path).resolve() in [Path(path).resolve() for path in paths]


def predict_classes(
    model: Ready, data: str, columns: SentenceColumns, reading: Reading
) -> Iterator[dict[str, Any]]:
    """One object a row, in input order: `label` and `probabilities`, or the predicted `value`."""
    task = _classification(model)
    sentences = read_sentences(data, columns, labelled=False)
    for logits in classifier_logits(model, sentences, reading):
        yield describe_prediction(logits, task)


def classifier_logits(model: Ready, sentences: Sentences, reading: Reading) -> Iterator[np.ndarray]:
    """[classes] of every row of the table, in input order; its windows are combined."""
    features = token_features(model.tokenizer, sentences, reading)
    found = _in_order(_logits(model, features, reading.max_seq_length))
    if reading.windows is None:
        return found
    windows, how = np.stack([*found]), reading.windows.combine
    return iter(combine_windows(windows, features["document_ids"], how))


def describe_prediction(logits: np.ndarray, task: SequenceClassification) -> dict[str, Any]:
    """A row's logits as what a user reads."""
    if task.is_regression:
        return {"value": float(logits[0])}
    probabilities = scipy.special.softmax(logits.astype(np.float64))
    named = dict(zip(task.labels, probabilities.tolist(), strict=True))
    return {"label": task.labels[int(logits.argmax())], "probabilities": named}


def fill_masks(
    model: Ready, texts: Sequence[str], *, top_k: int = 5, max_seq_length: int = 128
) -> Iterator[dict[str, Any]]:
    """For every text, the `top_k` likeliest pieces at each of its [MASK] tokens."""
    if not model.loaded.head.has_masked_lm:
        raise UserError(
            f"{model.loaded.directory}: its head is {model.loaded.head.kind!r}: predict needs a "
            "classifier or a masked LM"
        )
    if not texts:
        return
    encoded = model.tokenizer.encode(texts, max_length=max_seq_length, padding=False)
    masks = [np.flatnonzero(ids == model.tokenizer.mask_id) for ids in encoded["input_ids"]]
    # The vocabulary projection runs on these positions only; it would dwarf the encoder.
    positions = np.zeros((len(texts), max(1, *map(len, masks))), np.int32)
    for row, found in zip(positions, masks, strict=True):
        row[: len(found)] = found
    features = {
        "input_ids": encoded["input_ids"],
        "token_type_ids": encoded["token_type_ids"],
        "masked_lm_positions": positions,
    }
    pieces = model.tokenizer.vocab()

    def described(row: int, logits: np.ndarray) -> dict[str, Any]:
        found = [_likeliest(scores, pieces, top_k) for scores in logits[: len(masks[row])]]
        return {"text": texts[row], "masks": found}

    # Logits of a whole vocabulary are described at once: many would not fit the memory.
    rows = _logits(model, features, max_seq_length)
    yield from _in_order((row, described(row, logits)) for row, logits in rows)


def _likeliest(logits: np.ndarray, pieces: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    probabilities = scipy.special.softmax(logits.astype(np.float64))
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [{"token": pieces[i], "probability": float(probabilities[i])} for i in best]


def _classification(model: Ready) -> SequenceClassification:
    head: Head = model.loaded.head
    if head.kind != "sequence_classification":
        raise UserError(
            f"{model.loaded.directory}: its head is {head.kind!r}, not a classifier of sequences"
        )
    if head.problem_type == "multi_label_classification":
        raise UserError(
            f"{model.loaded.directory}: several labels a row (problem_type={head.problem_type!r}) "
            "are not implemented: expected one label a row, or regression"
        )
    # transformers: one output of no stated kind is a number, not the only class.
    is_lone = head.problem_type is None and len(head.labels) == 1
    return SequenceClassification(head.labels, is_lone or head.problem_type == "regression")


def _logits(
    model: Ready, features: Mapping[str, Any], max_seq_length: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Every example's number and float32 logits, in the order of the buckets."""
    apply = make_apply(model.loaded.config, model.loaded.head, model.dtype)

    @jax.jit
    def run(params: Params, batch: Batch) -> Array | None:
        return run_model(apply, params, batch).logits

    sharding = batch_sharding(model.mesh, microbatches=False)
    for batch in _batches(model, features, max_seq_length):
        logits = np.asarray(run(model.params, put_batch(batch, sharding)))
        for row, scores in zip(batch["row_ids"].tolist(), logits, strict=True):
            if row >= 0:
                yield row, scores


def _in_order(found: Iterable[tuple[int, T]]) -> Iterator[T]:
    """The values in the order of their numbers 0, 1, ..., each as soon as it can be."""
    waiting: dict[int, T] = {}
    due = 0
    for number, value in found:
        waiting[number] = value
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def _batches(model: Ready, features: Mapping[str, Any], max_seq_length: int) -> Iterator[HostBatch]:
    examples = EncodedExamples(features, pad_id=model.tokenizer.pad_id)
    rows = BucketedRows(examples, batch_size=model.batch_size, longest=max_seq_length)
    return evaluation_batches(rows, model.batch_size)


def _evaluate(model: Ready, task: Task, batches: Iterable[HostBatch]) -> dict[str, float]:
    apply = make_apply(model.loaded.config, model.loaded.head, model.dtype)
    step = jit_evaluation_step(make_evaluation_step(apply, task), model.params, model.mesh)
    metrics, _ = evaluate(step, model.params, batches, task, model.mesh)
    return metrics
