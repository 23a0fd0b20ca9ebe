"""What a finished masked LM is asked: its loss over a token store, or what it would fill in."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import scipy.special

from jaxbert.config import parse_config
from jaxbert.data.buckets import BucketedRows, standard_lengths
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.store import TokenStore
from jaxbert.data.stream import evaluation_batches
from jaxbert.errors import UserError
from jaxbert.experiment.alike import check_same_data
from jaxbert.experiment.checks import check_vocabulary
from jaxbert.experiment.inference import Ready, evaluate_rows
from jaxbert.experiment.predictor import chunks
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_data import data_phases, is_trained_on
from jaxbert.families import family_of
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import make_apply
from jaxbert.parallel.rows import RowPlacement
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.task import run_model
from jaxbert.text.tokenizer import load_tokenizer
from jaxbert.typing import Array, Batch, Params

Outputs = Callable[[Params, Batch], Array]
"""(params, batch) -> an array [rows, ...]"""


def evaluate_masked_lm(model: Ready, data: PretrainingData) -> dict[str, float]:
    """Loss, perplexity and accuracy over `masked_lm_data`, with fixed pairs and masks."""
    task = MaskedLanguageModelling(data.config.sentence_pairs)
    return evaluate_rows(model, task, data, task.metrics) | {"rows": data.num_examples}


def check_is_masked_lm(model: Ready) -> None:
    """Raises UserError for a model without the head of masked words."""
    head, directory = model.loaded.head, model.loaded.directory
    if head.kind == "replaced_token_detection":
        raise UserError(
            f"{directory}: a discriminator is evaluated in its run, beside its generator "
            "(metrics.jsonl); the generator alone is a masked LM: give RUN/generator"
        )
    if not head.predicts_tokens:
        raise UserError(f"{directory}: its head is {head.kind!r}, not a masked LM")


def masked_lm_data(model: Ready, store_path: str) -> PretrainingData:
    """The rows of a token store that a masked LM is evaluated on.

    All of them; of a store that the model's run trained on, those that the run held out. Examples
    are cut as in the last phase of that run, where it is known.
    """
    check_is_masked_lm(model)
    head = model.loaded.head
    store = TokenStore.open(store_path)
    check_same_data(store_path, store.fingerprint)
    made_with, loaded = load_tokenizer(store.tokenizer_directory), model.loaded
    check_vocabulary(store.path, made_with, loaded.directory, loaded.config.vocab_size)
    config = _data_config(model)
    if not head.has_next_sentence:
        config = replace(config, sentence_pairs="none")
    if not config.validation_fraction or not is_trained_on(store, model.data):
        config = replace(config, validation_fraction=1.0)
    return PretrainingData(store, config, 0, split="validation")


def _data_config(model: Ready) -> PretrainingDataConfig:
    """That of the last phase of the model's run; without one, rows of up to 128 tokens."""
    encoder = model.loaded.config
    if not model.run_config:
        pairs = family_of(encoder.model_type).sentence_pairs
        length = min(128, longest_input(encoder))
        return PretrainingDataConfig(sentence_pairs=pairs, max_seq_length=length)
    run = parse_config(Pretrain, dict(model.run_config), origin="the run's config.yaml")
    return data_phases(run.data, run.batch_size, run.phases, run.num_steps)[-1].data


def mask_filler(
    model: Ready, *, top_k: int = 5, max_seq_length: int = 128
) -> Callable[[Iterable[str]], Iterator[dict[str, Any]]]:
    """Texts -> for every text the `top_k` likeliest pieces at each of its [MASK] tokens.

    `masks_cut_off`: how many of them a text has beyond `max_seq_length`.
    Texts are taken as they come, some batches' worth at a time.
    """
    check_is_masked_lm(model)
    logits_of = _logits_of(model)

    def fill(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        for some in chunks(texts, model.rows_at_once):
            yield from _filled(model, logits_of, some, top_k, max_seq_length)

    return fill


def _filled(
    model: Ready, logits_of: Outputs, texts: Sequence[str], top_k: int, max_seq_length: int
) -> Iterator[dict[str, Any]]:
    encoded = model.tokenizer.encode(texts, max_length=max_seq_length, padding=False)
    masks = [np.flatnonzero(ids == model.tokenizer.mask_id) for ids in encoded["input_ids"]]
    # The vocabulary projection runs on these positions only; it would dwarf the encoder. Their
    # number is rounded up, so that few shapes are compiled.
    most = max(1, *map(len, masks))
    positions = np.zeros((len(texts), 1 << (most - 1).bit_length()), np.int32)
    for row, found in zip(positions, masks, strict=True):
        row[: len(found)] = found
    features = {
        "input_ids": encoded["input_ids"],
        "token_type_ids": encoded["token_type_ids"],
        "masked_lm_positions": positions,
    }
    pieces = model.tokenizer.vocab()
    mask = pieces[model.tokenizer.mask_id]

    def filled(row: int, logits: np.ndarray) -> dict[str, Any]:
        found = [_likeliest(scores, pieces, top_k) for scores in logits[: len(masks[row])]]
        cut_off = texts[row].count(mask) - len(found)
        return {"text": texts[row], "masks": found, "masks_cut_off": cut_off}

    # Logits of a whole vocabulary are described at once: many would not fit the memory.
    rows = outputs_of_rows(model, logits_of, features, max_seq_length)
    yield from _in_order((row, filled(row, logits)) for row, logits in rows)


def _likeliest(logits: np.ndarray, pieces: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    probabilities = scipy.special.softmax(logits.astype(np.float64))
    # A model may have more embeddings than its tokenizer has tokens, as DeBERTa-v3 has.
    best = np.argsort(-probabilities[: len(pieces)], kind="stable")[:top_k]
    return [{"token": pieces[i], "probability": float(probabilities[i])} for i in best]


def _logits_of(model: Ready) -> Outputs:
    apply = make_apply(model.loaded.config, model.loaded.head, model.dtype)
    return jax.jit(lambda params, batch: run_model(apply, params, batch).logits)


def outputs_of_rows(
    model: Ready, step: Outputs, features: Mapping[str, Any], max_seq_length: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Every example's number and what a step gives of it, in the order of the buckets."""
    placement = RowPlacement(model.mesh)
    examples = EncodedExamples(features, pad_id=model.tokenizer.pad_id)
    lengths = standard_lengths(max_seq_length)
    rows = BucketedRows(
        examples, batch_size=model.batch_size, longest=max_seq_length, lengths=lengths
    )
    for batch in evaluation_batches(rows, model.batch_size):
        outputs = np.asarray(step(model.params, placement.put(batch)))
        for row, output in zip(batch["row_ids"].tolist(), outputs, strict=True):
            if row >= 0:
                yield row, output


def _in_order(found: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The values in the order of their numbers 0, 1, ..., each as soon as it can be."""
    waiting: dict[int, dict[str, Any]] = {}
    due = 0
    for number, value in found:
        waiting[number] = value
        while due in waiting:
            yield waiting.pop(due)
            due += 1
