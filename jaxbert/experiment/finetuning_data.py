"""Labelled data as the rows that fine-tuning trains and is evaluated on."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxbert.data.buckets import BucketedRows
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.reading import Reading
from jaxbert.data.rows import LabelledRows, static_length
from jaxbert.data.stream import Phase, Stream
from jaxbert.experiment.held_out import Evaluation
from jaxbert.experiment.trainee import Data
from jaxbert.tasks.finetuning import Examples, LabelledTask, NotedExamples
from jaxbert.text.tokenizer import Tokenizer


def training_data(
    task: LabelledTask,
    train: Sequence[Any],
    validation: Mapping[str, Sequence[Any]],
    tokenizer: Tokenizer,
    reading: Reading,
    *,
    packing: bool,
    batch_size: int,
    evaluation_batch_size: int,
    seed: int,
) -> tuple[Data, dict[str, Examples]]:
    """Batches of the training records, rows of the validation records, and these as examples."""
    found = task.examples(train, tokenizer, reading, labelled=True)
    table = encoded(found.features, task, tokenizer)
    length = reading.max_seq_length
    fingerprints = {"the training data": fingerprint_of(found.features)}
    rows: LabelledRows | PackedLabelledRows
    if packing:
        rows = _packed(table, train, seed, length)
    else:
        rows = LabelledRows(table, seed=seed, length=static_length(table.lengths, length))
    stream = Stream([Phase(rows, batch_size)])
    notes = [f"training: {_described(rows)}"]
    notes += found.notes if isinstance(found, NotedExamples) else ()
    examples, sets = {}, {}
    for name, records in validation.items():
        judged = task.examples(records, tokenizer, reading, labelled=True)
        table = encoded(judged.features, task, tokenizer)
        held_out: BucketedRows | PackedLabelledRows
        if packing:
            held_out = _packed(table, records, seed, length)
        else:
            held_out = BucketedRows(table, batch_size=evaluation_batch_size, longest=length)
        notes.append(f"{name or 'evaluation'}: {_described(held_out)}")
        own = fingerprints[f"the validation data {name}".rstrip()] = fingerprint_of(judged.features)
        if own == fingerprints["the training data"]:
            # Such as a directory of save_to_disk for both, of which the split is train.
            notes.append(
                f"{name or 'evaluation'}: these are the training examples themselves: figures say "
                "nothing of others"
            )
        examples[name] = judged
        sets[name] = Evaluation(held_out, judged.metrics, is_reported=True)
    return Data(stream, sets, fingerprints, tuple(notes)), examples


def _packed(
    table: EncodedExamples, records: Sequence[Any], seed: int, length: int
) -> PackedLabelledRows:
    # An example of several texts is a record.
    return PackedLabelledRows(
        table, seed=seed, length=length, place=lambda number: records[number].place
    )


def encoded(
    features: Mapping[str, Any], task: LabelledTask, tokenizer: Tokenizer
) -> EncodedExamples:
    """The table from which all layouts of rows are made."""
    per_token = [name for name, column in task.columns.items() if column.per_token]
    return EncodedExamples(features, pad_id=tokenizer.pad_id, per_token=per_token)


def _described(rows: LabelledRows | PackedLabelledRows | BucketedRows) -> str:
    lengths = rows.lengths.tolist() if isinstance(rows, BucketedRows) else [rows.length]
    widths = ", ".join(map(str, lengths))
    return f"{len(rows.examples):,} examples in rows of {widths} tokens, {rows.padding:.0%} padding"


def fingerprint_of(features: Mapping[str, Any]) -> str:
    """Of what models see of examples."""
    digest = hashlib.sha256()
    for name in sorted(features):
        for row in features[name]:
            digest.update(np.asarray(row).tobytes())
    return digest.hexdigest()[:16]
