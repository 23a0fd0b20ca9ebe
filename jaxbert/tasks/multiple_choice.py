"""Which of several texts goes on from, or answers, another (SWAG, RACE, ARC)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxbert.data.reading import Reading, encode
from jaxbert.data.tables import Row, whole_rows
from jaxbert.errors import UserError, kind_of, nearest
from jaxbert.metrics.classification import accuracy
from jaxbert.nn.head import Head
from jaxbert.nn.model import ModelOutput
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.tasks.finetuning import Column, LabelledTask, Rows
from jaxbert.tasks.losses import counts, cross_entropies, divergences, label_count
from jaxbert.tasks.sentences import text_of
from jaxbert.tasks.tables import Table, class_table, mistakes
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch

_ASSUMED_CHOICES = 4


@dataclass(frozen=True)
class ChoiceColumns:
    """Which columns of a table hold what; the defaults are SWAG's."""

    context: str = "sent1"
    """What is read before every choice."""
    question: str | None = "sent2"
    """What every choice begins with, and a space; null: nothing."""
    choices: tuple[str, ...] | str = ("ending0", "ending1", "ending2", "ending3")
    """A column a choice, or one column of lists. Where a question has fewer, the last columns are
    empty; they take no part in the softmax."""
    label: str = "label"
    """Number of the right choice from 0 on, the name of its column, or one of `task.labels`."""
    names: tuple[str, ...] | None = None
    """Column names of a CSV or TSV file that has no header."""

    def __post_init__(self) -> None:
        if not isinstance(self.choices, str) and len(self.choices) < 2:
            raise UserError("columns.choices: name at least two columns, or one column of lists")

    @property
    def of_choices(self) -> tuple[str, ...]:
        """The columns that hold choices."""
        return (self.choices,) if isinstance(self.choices, str) else self.choices

    @property
    def inputs(self) -> tuple[str, ...]:
        """What prediction reads."""
        begin = () if self.question is None else (self.question,)
        return (self.context, *begin, *self.of_choices)


@dataclass(frozen=True)
class MultipleChoiceConfig:
    """One right text among several."""

    of_training: ClassVar[tuple[str, ...]] = ("classifier_dropout",)

    kind: Literal["multiple_choice"] = "multiple_choice"
    columns: ChoiceColumns = field(default_factory=ChoiceColumns)
    labels: tuple[str, ...] | None = None
    """How the labels of the data name the choices in order, such as [A, B, C, D]."""
    classifier_dropout: float | None = None
    """null: what the model's config.json says of classifiers, else its hidden_dropout_prob."""

    def read(self, spec: str, *, labelled: bool) -> Iterator[Row]:
        """Rows of a table."""
        columns = self.columns
        wanted = (*columns.inputs, columns.label) if labelled else columns.inputs
        return whole_rows(spec, columns=wanted, names=columns.names, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Themselves."""
        return iter(rows)

    def task(self, records: Sequence[Row]) -> "MultipleChoice":
        """The same for all data."""
        return MultipleChoice(self.classifier_dropout, self.columns, self.labels)

    def task_of(self, head: Head) -> "MultipleChoice":
        """The same for all models."""
        return self.task(())

    def assumed(self) -> tuple["MultipleChoice", tuple[str, ...]]:
        """With four choices, where the data say how many."""
        is_open = isinstance(self.columns.choices, str)
        return self.task(()), ("task.columns.choices: four choices",) if is_open else ()


@dataclass(frozen=True)
class MultipleChoice(LabelledTask):
    """Batch: labels int32 [batch], -100 = does not count, and text_ids int32 [batch, choices], -1
    where a question has fewer; packed rows have [batch, examples] in the place of [batch].

    The loss is the cross-entropy of a softmax over the choices that there are.
    """

    classifier_dropout: float | None = None
    columns_read: ChoiceColumns = field(default_factory=ChoiceColumns)
    label_names: tuple[str, ...] | None = None

    @property
    def head(self) -> Head:
        """One logit for every (context, choice)."""
        return Head("multiple_choice", classifier_dropout=self.classifier_dropout)

    @property
    def columns(self) -> Mapping[str, Column]:
        """The label, and which choices there are."""
        choices = self.columns_read.choices
        count = _ASSUMED_CHOICES if isinstance(choices, str) else len(choices)
        return {"labels": Column(), "text_ids": Column(texts=count)}

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Questions that count."""
        return {"loss": label_count(batch["labels"])}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropies."""
        return {"loss": jnp.sum(cross_entropies(_there(output, batch), batch["labels"]))}

    def answer_weight(self, batch: Batch) -> Array:
        """Questions that count."""
        return label_count(batch["labels"])

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Divergences over the choices that there are."""
        apart = divergences(_there(output, batch), _there(teacher, batch), temperature)
        return jnp.sum(jnp.where(counts(batch["labels"]), apart, 0.0))

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The logits, also of choices that are not there."""
        assert output.logits is not None
        return {"logits": output.logits}

    def examples(
        self, records: Sequence[Row], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "EncodedQuestions":
        """An example a row, whose texts are the pairs (context, question and choice)."""
        if reading.windows is not None:
            raise UserError("windows: multiple choice reads every choice once: take a truncation")
        questions = [_question(row, self.columns_read) for row in records]
        counts = np.array([len(question.choices) for question in questions])
        labels = None
        if labelled:
            labels = np.array([self._label(question) for question in questions], np.int32)
        contexts = [question.context for question in questions for _ in question.choices]
        choices = [choice for question in questions for choice in question.choices]
        encoded = encode(tokenizer, contexts, choices, reading)
        choices_read = self.columns_read.choices
        most = max(counts) if isinstance(choices_read, str) else len(choices_read)
        is_there = np.arange(most) < counts[:, None]
        text_ids = np.full(is_there.shape, -1, np.int32)
        text_ids[is_there] = np.arange(len(choices))
        return EncodedQuestions(questions, _spread(encoded, text_ids), text_ids, labels)

    def _label(self, question: "Question") -> int:
        """The number of the right choice."""
        row, names = question.row, self.label_names
        value = row.values[self.columns_read.label]
        text = "" if value is None else str(value)
        if names is not None:
            number = names.index(text) if text in names else -1
        elif text in self.columns_read.of_choices and not isinstance(
            self.columns_read.choices, str
        ):
            number = self.columns_read.choices.index(text)
        else:
            number = int(text) if text.isdecimal() else -1
        count = len(question.choices)
        if 0 <= number < count:
            return number
        expected = f"0 to {count - 1}" if names is None else nearest(text, list(names[:count]))
        raise UserError(
            f"{row.place}: {self.columns_read.label!r} is {value!r}, and the row has "
            f"{count} choices: {expected}; correct or remove the row"
        )


def _there(output: ModelOutput, batch: Batch) -> Array:
    """Logits, of which those of choices that are not there take no part in a softmax."""
    assert output.logits is not None
    return jnp.where(batch["text_ids"] >= 0, output.logits, MASKED_SCORE)


@dataclass(frozen=True)
class Question:
    """A row of a table, read."""

    row: Row
    context: str
    choices: list[str]
    """With what each begins with."""


@dataclass(frozen=True)
class EncodedQuestions:
    """Examples of `MultipleChoice`."""

    questions: Sequence[Question]
    encoded: Mapping[str, Any]
    text_ids: np.ndarray
    """int32 [questions, choices]"""
    labels: np.ndarray | None
    """int32 [questions]"""

    @property
    def features(self) -> Mapping[str, Any]:
        """Tokens of all choices, which of them there are, and the right one."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return {**self.encoded, "text_ids": self.text_ids, **labels}

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """Loss and accuracy."""
        assert self.labels is not None
        found = self._logits(rows).argmax(axis=-1)
        return means | {"accuracy": accuracy(self.labels[rows["row_ids"]], found)}

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`choice`, from 0 on, and `probabilities` of the choices that the record has."""
        for question, logits in zip(self.questions, self._logits(rows), strict=True):
            probabilities = scipy.special.softmax(logits[: len(question.choices)])
            yield {
                "choice": int(probabilities.argmax()),
                "probabilities": [float(probability) for probability in probabilities],
            }

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """Choices by their place, and the wrong ones that the model is surest of."""
        assert self.labels is not None
        labels = self.labels[rows["row_ids"]]
        probabilities = scipy.special.softmax(self._logits(rows), axis=-1)
        found, highest = probabilities.argmax(axis=-1), probabilities.max(axis=-1)
        places = [str(place) for place in range(probabilities.shape[-1])]
        wrong = np.flatnonzero(found != labels)
        surest = wrong[np.argsort(-highest[wrong], kind="stable")].tolist()

        def shown(row: int) -> tuple[str, str, str, str, float]:
            question = self.questions[int(rows["row_ids"][row])]
            expected, given = (question.choices[int(place[row])] for place in (labels, found))
            place = question.row.place
            return place, question.context, expected, given, float(highest[row])

        columns = ("row", "context", "expected", "predicted", "probability")
        return class_table(labels, found, places), mistakes(columns, map(shown, surest))

    def _logits(self, rows: Rows) -> np.ndarray:
        """float64 [questions, choices], -inf for choices that are not there."""
        is_there = self.text_ids[rows["row_ids"]] >= 0
        return np.where(is_there, rows["logits"].astype(np.float64), -np.inf)


def _question(row: Row, columns: ChoiceColumns) -> Question:
    if isinstance(columns.choices, str):
        values = row.values[columns.choices]
        if not isinstance(values, list | tuple | np.ndarray):
            found = kind_of(values)
            raise UserError(
                f"{row.place}: {columns.choices!r} is {found}, expected a list of texts; "
                "name a column for each choice in task.columns.choices"
            )
        named = [(f"{columns.choices}[{place}]", value) for place, value in enumerate(values)]
    else:
        named = [(name, row.values[name]) for name in columns.choices]
    while named and named[-1][1] in (None, ""):
        named.pop()
    for name, value in named:
        if not isinstance(value, str) or not value:
            raise UserError(
                f"{row.place}: choice {name!r} is {value!r}, expected text, as in the "
                "choices after it; correct or remove the row"
            )
    if len(named) < 2:
        raise UserError(
            f"{row.place}: {len(named)} choices, expected at least two; correct or remove the row"
        )
    begins = "" if columns.question is None else f"{text_of(row, columns.question)} "
    return Question(row, text_of(row, columns.context), [begins + text for _, text in named])


def _spread(encoded: Mapping[str, Any], text_ids: np.ndarray) -> dict[str, Any]:
    """With rows without tokens for the choices that are not there."""
    return {
        name: [texts[number] if number >= 0 else [] for number in text_ids.ravel()]
        for name, texts in encoded.items()
    }
