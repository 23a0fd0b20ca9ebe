"""Predictions for records as they come, in few static shapes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxbert.data.buckets import BucketedRows, standard_lengths
from jaxbert.data.reading import Reading
from jaxbert.data.stream import evaluation_batches
from jaxbert.data.table_files import without_halves
from jaxbert.data.tables import Row
from jaxbert.data.tagged import TagColumns
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import TaskSection
from jaxbert.experiment.finetuning_data import encoded
from jaxbert.experiment.inference import Ready, reading_of, ready, section_of
from jaxbert.nn.functional import make_apply
from jaxbert.parallel.rules import row_shards
from jaxbert.training.evaluation import predict
from jaxbert.training.step import jit_evaluation_step, make_prediction_step

T = TypeVar("T")
Input = str | tuple[str, ...] | Mapping[str, Any]
# What a batch more costs, in the positions that take as long: a CPU reads all weights again, an
# accelerator has done thousands of positions when the next batch is dispatched.
_CALL, _ACCELERATOR_CALL = 32, 4096


class Predictor:
    """A fine-tuned model that answers.

        predictor = jaxbert.Predictor("runs/classifier")
        predictor(["A fine film.", "Not for me."])

    Texts are padded to one of some lengths, in batches of one of three sizes, so that there is a
    bounded number of shapes, each compiled when it is first needed. A request of texts of unlike
    lengths is several small batches where these hold enough less padding. Nothing is changed by a
    call: threads may share a predictor.
    """

    def __init__(
        self,
        model: str | Path | Ready,
        *,
        section: TaskSection | None = None,
        reading: Reading | None = None,
        batch_size: int = 32,
    ):
        """Opens a model directory, run directory or hub id.

        `section` and `reading`: what the task reads; None: as in the model's run.
        """
        self._model = model if isinstance(model, Ready) else ready(model, batch_size=batch_size)
        self._section = section_of(self._model) if section is None else section
        self._reading = reading_of(self._model) if reading is None else reading
        self._task = self._section.task_of(self._model.loaded.head)
        loaded, mesh = self._model.loaded, self._model.mesh
        apply = make_apply(loaded.config, loaded.head, self._model.dtype)
        step = make_prediction_step(apply, self._task)
        self._step = jit_evaluation_step(step, self._model.params, mesh)
        self._lengths = standard_lengths(self._reading.max_seq_length)
        shards = row_shards(mesh)
        sizes = {-(-size // shards) * shards for size in (1, 8)}
        largest = self._model.batch_size
        # The largest first: it is taken where another one does not cost less.
        self._batch_sizes = (largest, *sorted({n for n in sizes if n < largest}, reverse=True))
        is_cpu = mesh.devices.flat[0].platform == "cpu"
        self._call = _CALL if is_cpu else _ACCELERATOR_CALL

    def __call__(self, inputs: Sequence[Input]) -> list[dict[str, Any]]:
        """A prediction for every input: a text, a pair of texts, or values by column."""
        if isinstance(inputs, str | Mapping):
            found = "one text" if isinstance(inputs, str) else "values by column"
            raise UserError(
                f"predictor(...): expected a list of texts, found {found}: put it in []"
            )
        if hasattr(inputs, "columns"):
            raise UserError(
                "predictor(...): expected a list of texts, found a table: give table['text'] or "
                "table.to_dict('records')"
            )
        return list(self.records(self._section.records(self._rows(inputs))))

    def records(self, records: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Predictions in the order of the records that the task's section reads.

        They are taken as they come, 64 batches' worth at a time.
        """
        for some in chunks(records, self._model.rows_at_once):
            yield from self._predict(some)

    def _predict(self, records: Sequence[Any]) -> Iterator[dict[str, Any]]:
        tokenizer, longest = self._model.tokenizer, self._reading.max_seq_length
        examples = self._task.examples(records, tokenizer, self._reading, labelled=False)
        table = encoded(examples.features, self._task, tokenizer)
        sizes = [
            BucketedRows(table, batch_size=size, longest=longest, lengths=self._lengths)
            for size in self._batch_sizes
        ]
        rows = min(sizes, key=lambda rows: rows.num_positions + rows.num_batches * self._call)
        batches = evaluation_batches(rows, rows.batch_size)
        found = predict(self._step, self._model.params, batches, self._model.mesh)
        return examples.predictions(found)

    def _rows(self, inputs: Sequence[Input]) -> Iterator[Row]:
        names = self._section.columns.inputs
        for number, given in enumerate(inputs, start=1):
            if isinstance(given, Mapping):
                values = given
            elif not isinstance(given, str | list | tuple | np.ndarray):
                raise UserError(
                    f"input {number} is {type(given).__name__}: expected a text, several texts or "
                    "values by column"
                )
            else:
                texts = (given,) if isinstance(given, str) else given
                if len(texts) > len(names):
                    found = "a pair" if len(texts) == 2 else f"{len(texts)} texts"
                    read = "single texts" if len(names) == 1 else f"{', '.join(names)}"
                    raise UserError(f"input {number} is {found}, and the model reads {read}")
                values = dict(zip(names, texts, strict=False))
            for name in self._read_of(values):
                if name not in values:
                    raise UserError(f"input {number} has no {name!r}, which the model reads")
                if without_halves(values[name]) is not values[name]:
                    raise UserError(
                        f"input {number}: {name!r} holds half of a surrogate pair, which is no "
                        "character: correct or replace it"
                    )
            yield Row(dict(values), "input", number)

    def _read_of(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns that count: where words are split already, no text is wanted."""
        columns = self._section.columns
        if isinstance(columns, TagColumns) and columns.has_words(values):
            return (columns.of_words,)
        return columns.inputs


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
