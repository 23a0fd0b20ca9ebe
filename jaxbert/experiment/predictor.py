"""Predictions for records as they come, in few static shapes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from jaxbert.data.buckets import BucketedRows, standard_lengths
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.reading import Reading
from jaxbert.data.stream import evaluation_batches
from jaxbert.data.table_files import without_halves
from jaxbert.data.tables import Row
from jaxbert.data.tagged import TagColumns
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import TaskSection
from jaxbert.experiment.finetuning_data import encoded
from jaxbert.experiment.inference import Ready, reading_of, ready, section_of
from jaxbert.experiment.prompts import tell_of_prompts
from jaxbert.metrics.sparse import as_matrix
from jaxbert.nn.functional import make_apply
from jaxbert.parallel.rules import row_shards
from jaxbert.tasks.finetuning import Examples
from jaxbert.tasks.late_interaction import LateInteractionConfig
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.tasks.sparse_embedding import SparseEmbeddingConfig
from jaxbert.training.evaluation import predict
from jaxbert.training.step import jit_evaluation_step, make_prediction_step

T = TypeVar("T")
Input = str | tuple[str, ...] | Mapping[str, Any]
# What a batch more costs, in the positions that take as long: a CPU reads all weights again, an
# accelerator has done thousands of positions when the next batch is dispatched.
_CALL, _ACCELERATOR_CALL = 32, 4096
# On a CPU: more positions in a batch than the first take so many times as long each, as what lies
# between operations fits no cache, and its memory comes from the system anew with every call.
_LARGE, _LARGE_COSTS = 2048, 1.2
_OF_PAIRS = ': name both with Predictor(..., columns={"text": "text", "text_pair": "text_pair"})'


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
        columns: Mapping[str, str] | None = None,
        overrides: Sequence[str] = (),
        section: TaskSection | None = None,
        reading: Reading | None = None,
        batch_size: int = 32,
        dtype: str = "float32",
    ):
        """Opens a model directory, run directory or hub id.

        `columns`: the names of what is read where the model has no run that says them, or others,
        such as {"text": "query", "text_pair": "passage"} of a model that reads pairs. `overrides`:
        options of its task as on the command line, such as ["task.prompt=query"]. `section`: the
        task as a value, in place of both. `reading`: lengths and truncation; None: as in the
        model's run. `dtype` of the computation: float32 or bfloat16; parameters and outputs are
        float32. Raises UserError for a column or an option that the task has not.
        """
        if section is not None and (columns or overrides):
            raise UserError("Predictor(section=...): it says columns and options itself: drop them")
        if not isinstance(model, Ready):
            model = ready(model, batch_size=batch_size, dtype=dtype)
        self._model = model
        self._section = section or section_of(self._model, columns, overrides)
        tell_of_prompts(self._section, self._model.loaded.directory)
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
        self._is_cpu = mesh.devices.flat[0].platform == "cpu"

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

    def vectors(self, texts: Sequence[Input]) -> NDArray[np.float32]:
        """Embeddings of texts, [texts, features], as the model pools them.

        Raises UserError where the model is for something else.
        """
        if isinstance(self._section, SparseEmbeddingConfig):
            raise UserError(
                "vectors(...): the model's are sparse: take sparse_vectors(...), or call the "
                "predictor for words and weights"
            )
        if not isinstance(self._section, SentenceEmbeddingConfig):
            raise UserError(
                f"vectors(...): the model's task is {self._section.kind}: call the predictor, or "
                "open an encoder (convert --head none)"
            )
        parts = self._outputs_of(texts, "embeddings")
        width = self._model.loaded.head.vector_size(self._model.loaded.config.hidden_size)
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)

    def token_vectors(self, texts: Sequence[Input]) -> list[NDArray[np.float32]]:
        """Of every text [tokens, dimensions], without the tokens that are not scored.

        Texts are what the section's `side` says. Raises UserError where the model is for something
        else than late interaction.
        """
        if not isinstance(self._section, LateInteractionConfig):
            raise UserError(
                f"token_vectors(...): the model's task is {self._section.kind}, which has none: "
                "call the predictor, or open a model of late interaction"
            )
        return [vectors for part in self._outputs_of(texts, "token_vectors") for vectors in part]

    def logits(self, inputs: Sequence[Input]) -> NDArray[np.float32]:
        """Of a classifier of texts, [inputs, labels]: what its scores and probabilities come from.

        Raises UserError where the model is for something else, reads windows, or has so many
        classes that only the most probable ones are kept.
        """
        if not isinstance(self._section, SequenceClassificationConfig):
            raise UserError(f"logits(...): the model's task is {self._section.kind}: call it")
        if self._reading.windows is not None:
            raise UserError(
                "logits(...): a text of several windows has several: call the predictor"
            )
        records = self._section.records(self._rows(inputs))
        found = [self._outputs(some)[1] for some in chunks(records, self._model.rows_at_once)]
        labels = len(self._model.loaded.head.labels)
        if any("logits" not in outputs for outputs in found):
            raise UserError(
                f"logits(...): of {labels:,} classes they are not kept: call the predictor"
            )
        parts = [outputs["logits"] for outputs in found]
        return np.concatenate(parts) if parts else np.zeros((0, labels), np.float32)

    def sparse_vectors(self, texts: Sequence[Input]) -> scipy.sparse.csr_array:
        """Weights of the vocabulary, float32 [texts, vocab], of a model of sparse embeddings.

        Raises UserError where the model is for something else.
        """
        if not isinstance(self._section, SparseEmbeddingConfig):
            raise UserError(
                f"sparse_vectors(...): the model's task is {self._section.kind}: call the predictor"
            )
        parts = self._outputs_of(texts, "embeddings")
        vocabulary = self._model.loaded.config.vocab_size
        empty = scipy.sparse.csr_array((0, vocabulary), dtype=np.float32)
        return as_matrix(np.concatenate(parts)) if parts else empty

    def _outputs_of(self, texts: Sequence[Input], name: str) -> list[NDArray[Any]]:
        records = self._section.records(self._rows(texts))
        found = (self._outputs(some)[1] for some in chunks(records, self._model.rows_at_once))
        return [outputs[name] for outputs in found]

    def compile(self, example: Input | None = None) -> None:
        """Compiles all shapes, so that no request waits for it: some seconds for each of them.

        With JAX's compilation cache a second process reads them from disk. `example`: an input like
        those that will come, where shapes hang on it (how many choices there are).
        """
        given = made_up(self._section) if example is None else example
        _, table = self._encoded(tuple(self._section.records(self._rows([given]))))
        nobody = (
            table.padded(np.full(size, -1), int(length))
            for size in self._batch_sizes
            for length in self._lengths
        )
        predict(self._step, self._model.params, nobody, self._model.mesh)

    def records(self, records: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Predictions in the order of the records that the task's section reads.

        They are taken as they come, 64 batches' worth at a time.
        """
        for some in chunks(records, self._model.rows_at_once):
            yield from self._predict(some)

    def _predict(self, records: Sequence[Any]) -> Iterator[dict[str, Any]]:
        examples, outputs = self._outputs(records)
        return examples.predictions(outputs)

    def _outputs(self, records: Sequence[Any]) -> tuple[Examples, dict[str, Any]]:
        examples, table = self._encoded(records)
        longest = self._reading.max_seq_length
        sizes = [
            BucketedRows(table, batch_size=size, longest=longest, lengths=self._lengths)
            for size in self._batch_sizes
        ]
        rows = min(sizes, key=self._cost)
        batches = evaluation_batches(rows, rows.batch_size)
        return examples, predict(
            self._step, self._model.params, batches, self._model.mesh, self._task.kept
        )

    def _cost(self, rows: BucketedRows) -> float:
        """In the time of a position in a small batch."""
        positions, batches = rows.num_positions, rows.num_batches
        if not self._is_cpu:
            return positions + batches * _ACCELERATOR_CALL
        each = _LARGE_COSTS if positions > batches * _LARGE else 1.0
        return positions * each + batches * _CALL

    def _encoded(self, records: Sequence[Any]) -> tuple[Examples, EncodedExamples]:
        tokenizer = self._model.tokenizer
        examples = self._task.examples(records, tokenizer, self._reading, labelled=False)
        return examples, encoded(examples.features, self._task, tokenizer)

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
                    raise UserError(
                        f"input {number} is {found}, and the model reads {read}"
                        + (_OF_PAIRS if len(texts) == 2 and self._may_read_pairs else "")
                    )
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

    @property
    def _may_read_pairs(self) -> bool:
        return isinstance(self._section, SequenceClassificationConfig)

    def _read_of(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns that count: where words are split already, no text is wanted."""
        columns = self._section.columns
        if isinstance(columns, TagColumns) and columns.has_words(values):
            return (columns.of_words,)
        return columns.inputs


def made_up(section: TaskSection) -> dict[str, Any]:
    """An input of the shortest texts."""
    columns = section.columns
    texts: dict[str, Any] = dict.fromkeys(columns.inputs, "a")
    if isinstance(choices := getattr(columns, "choices", None), str):
        texts[choices] = ["a", "b"]
    return texts


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
