"""What fine-tuning knows of a task: from records to examples, and from outputs back to records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.nn.head import Head
from jaxbert.tasks.tables import Table
from jaxbert.tasks.task import Task
from jaxbert.text.tokenizer import Tokenizer

Rows = Mapping[str, Any]
"""Outputs of examples in the order of their `row_ids`, which are among them: what `row_outputs`
gives as arrays [examples, ...], what `token_outputs` gives as lists of arrays [tokens, ...]."""


@dataclass(frozen=True)
class Column:
    """What a task adds to a batch."""

    dtype: type = np.int32
    per_token: bool = False
    """One value for every token, else one an example."""
    texts: int = 0
    """Above 0: examples are so many texts, and the column has a value for each: `text_ids`."""
    width: int = 0
    """Above 0: the column has so many values for an example."""


@runtime_checkable
class Examples(Protocol):
    """Records as a model reads them. Immutable."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Columns of `data.encoded.EncodedExamples`."""

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """Metrics of the examples that have rows, from these and the means of all losses."""

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """What a user reads, an object a record and in their order, from the rows of all."""

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """What a report shows beside the metrics: breakdowns, and the worst mistakes."""


@runtime_checkable
class NotedExamples(Protocol):
    """Examples of which one should know something before training on them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that a run begins with."""


@runtime_checkable
class TuningExamples(Protocol):
    """Examples of a validation set that may fix something of the task, such as thresholds."""

    @property
    def tunes(self) -> bool:
        """Whether they do."""

    def tuned(self, rows: Rows) -> "LabelledTask":
        """The task to export, from the rows of all with the final parameters."""


@runtime_checkable
class LabelledTask(Task, Protocol):
    """A task whose data are labelled records."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """What it adds to a batch besides tokens, `row_ids` and `weights`."""

    def examples(
        self, records: Sequence[Any], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> Examples:
        """Without labels there are no `columns` and no metrics.

        Raises UserError for a record that cannot be used, with its file and line.
        """


class TaskConfig(Protocol):
    """A section `task` of a configuration: a frozen dataclass, told apart by its `kind`.

    A kind is that of the head, so that a model alone says which task it is for; embeddings have
    none.
    """

    of_training: ClassVar[tuple[str, ...]]
    """Keys that act in training alone: a model that has been trained has what they say."""

    @property
    def kind(self) -> str:
        """The kind of the task."""

    def read(self, spec: str, *, labelled: bool) -> Iterator[Any]:
        """The records of a file or data set, as they come.

        Raises UserError with file and line for what is malformed, so that every record counts.
        """

    def records(self, rows: Iterable[Row]) -> Iterator[Any]:
        """Rows of a table without labels as `read` gives them, for `Predictor`."""

    def task(self, records: Sequence[Any]) -> LabelledTask:
        """For training on these records: the labels are theirs where none are given."""

    def task_of(self, head: Head) -> LabelledTask:
        """For a model that is trained already; `head` is of this kind."""

    def assumed(self) -> tuple[LabelledTask, tuple[str, ...]]:
        """Without any data, and what had to be assumed."""
