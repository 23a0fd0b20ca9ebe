"""Extractive question answering: the answer is a span of the context, or there is none."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from jaxbert.data.letters import whole_letters
from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.data.squad import Question, QuestionColumns, question_of, read_questions
from jaxbert.data.tables import Row
from jaxbert.data.windows import answer_labels, answer_tokens, windows
from jaxbert.errors import UserError
from jaxbert.metrics.squad import squad_scores, squad_v2_scores
from jaxbert.nn.examples import Examples, lay_out
from jaxbert.nn.head import Head, LayerMixture
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.answer_spans import ContextTokens, Spans, best_spans
from jaxbert.tasks.finetuning import Column, LabelledTask, Rows
from jaxbert.tasks.losses import IGNORED, cross_entropies, divergences
from jaxbert.tasks.question_tables import question_tables
from jaxbert.tasks.tables import Table
from jaxbert.tasks.task import row_count
from jaxbert.text.encoded_text import EncodedText
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch

_AT_ONCE = 1024
"""Questions that are tokenised together: what the tokenizer gives is large."""


@dataclass(frozen=True)
class QuestionAnsweringConfig:
    """Answers as spans of a context, as SQuAD has them."""

    of_training: ClassVar[tuple[str, ...]] = ("mixture",)

    kind: Literal["question_answering"] = "question_answering"
    columns: QuestionColumns = field(default_factory=QuestionColumns)
    unanswerable: bool = False
    """Some questions have no answer (SQuAD v2)."""
    null_threshold: float = 0.0
    """No answer is given where its score exceeds the best answer's by more than this."""
    n_best: Annotated[int, Ge(1)] = 20
    """Answers that a prediction lists."""
    max_answer_length: Annotated[int, Ge(1)] = 30
    """Tokens of an answer that is given; training has longer ones too."""
    mixture: LayerMixture | None = None
    """Which layers the classifier reads; null: the last one."""

    def read(self, spec: str, *, labelled: bool) -> Iterator[Question]:
        """Questions of SQuAD's JSON or a table."""
        for question in read_questions(spec, self.columns, labelled=labelled):
            if labelled and not question.answers and not self.unanswerable:
                raise UserError(
                    f"{question.place}: no answer; set task.unanswerable=true where questions may"
                    " have none, or remove it"
                )
            yield question

    def records(self, rows: Iterable[Row]) -> Iterator[Question]:
        """Questions that nobody has answered; without an id they have their number."""
        return (question_of(row, self.columns, labelled=False) for row in rows)

    def task(self, records: Sequence[Question]) -> "QuestionAnswering":
        """The same for all data."""
        return QuestionAnswering(self)

    def task_of(self, head: Head) -> "QuestionAnswering":
        """The same for all heads."""
        return QuestionAnswering(replace(self, mixture=head.mixture))

    def assumed(self) -> tuple["QuestionAnswering", tuple[str, ...]]:
        """Nothing had to be."""
        return QuestionAnswering(self), ()


@dataclass(frozen=True)
class QuestionAnswering(LabelledTask):
    """Batch: start_positions and end_positions int32 [batch], of the answer's first and last token.

    They count from the start of the example; 0, its [CLS], where the window has not all of the
    answer. Rows count where `row_ids` >= 0. Packed rows: all are [batch, examples].
    """

    config: QuestionAnsweringConfig = field(default_factory=QuestionAnsweringConfig)

    @property
    def head(self) -> Head:
        """Two numbers for every token: that the answer starts there, that it ends there."""
        return Head("question_answering", mixture=self.config.mixture)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Where the answer starts and ends."""
        return {"start_positions": Column(), "end_positions": Column()}

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Windows that count."""
        return {"loss": row_count(batch)}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Mean of the cross-entropies of start and end over the tokens of the window.

        As transformers' but for padding, which there is among the classes.
        """
        assert output.start_logits is not None
        assert output.end_logits is not None
        start = _position_losses(output.start_logits, batch["start_positions"], batch)
        end = _position_losses(output.end_logits, batch["end_positions"], batch)
        return {"loss": jnp.sum(start + end) / 2}

    def answer_weight(self, batch: Batch) -> Array:
        """Windows that count."""
        return row_count(batch)

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Mean of the divergences of start and end over the tokens of the window."""
        examples = _laid_out(batch)

        def apart(ours: Array | None, theirs: Array | None) -> Array:
            return divergences(_own(ours, examples), _own(theirs, examples), temperature)

        start = apart(output.start_logits, teacher.start_logits)
        end = apart(output.end_logits, teacher.end_logits)
        return jnp.sum(jnp.where(batch["row_ids"] >= 0, start + end, 0.0)) / 2

    def token_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The logits."""
        assert output.start_logits is not None
        assert output.end_logits is not None
        return {"start_logits": output.start_logits, "end_logits": output.end_logits}

    def examples(
        self, records: Sequence[Question], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "AskedQuestions":
        """An example a window of a question's context; by default they share 128 tokens."""
        if reading.truncation != "head":
            raise UserError(
                f"truncation={reading.truncation}: question answering reads all of a context, in "
                "windows; drop it"
            )
        stride = (reading.windows or WindowConfig()).stride
        found = list(_windows(records, tokenizer, reading.max_seq_length, stride))
        return AskedQuestions(self.config, records, found, labelled)


class Window(NamedTuple):
    """One window of a question, as the model reads it."""

    question: int
    """Its number."""
    input_ids: np.ndarray
    token_type_ids: np.ndarray
    context: ContextTokens
    answer: tuple[int, int]
    """The labels; (0, 0) without any."""


@dataclass(frozen=True)
class AskedQuestions:
    """Examples of `QuestionAnswering`; every question counts once, in however many windows."""

    config: QuestionAnsweringConfig
    questions: Sequence[Question]
    windows: Sequence[Window]
    """Those of a question one after another."""
    labelled: bool

    @property
    def features(self) -> Mapping[str, Any]:
        """Tokens, and where the answer is."""
        found: dict[str, Any] = {
            "input_ids": [window.input_ids for window in self.windows],
            "token_type_ids": [window.token_type_ids for window in self.windows],
        }
        if self.labelled:
            answers = np.array([window.answer for window in self.windows], np.int32)
            found |= {"start_positions": answers[:, 0], "end_positions": answers[:, 1]}
        return found

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """Loss over windows, and SQuAD's scores of questions in percent, under its names."""
        found = list(self._answered(rows))
        answers = [[answer.text for answer in question.answers or ()] for question, _ in found]
        given = [self._given(question, spans) for question, spans in found]
        if not self.config.unanswerable:
            return means | squad_scores(given, answers)
        best = [_best(question, spans) for question, spans in found]
        excess = [spans.no_answer_excess for _, spans in found]
        return means | squad_v2_scores(given, answers, best, excess)

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`id`, `prediction_text`, and the `n_best` with their places in the context.

        With unanswerable questions also `no_answer_probability`; it and those of the n-best are 1
        together.
        """
        for question, spans in self._answered(rows):
            probabilities = spans.probabilities(with_no_answer=self.config.unanswerable).tolist()
            prediction: dict[str, Any] = {
                "id": question.id,
                "prediction_text": self._given(question, spans),
            }
            if self.config.unanswerable:
                prediction["no_answer_probability"] = probabilities.pop()
            places = zip(spans.characters.tolist(), probabilities, strict=True)
            yield prediction | {
                "n_best": [
                    {
                        "text": question.context[start:end],
                        "probability": probability,
                        "start": start,
                        "end": end,
                    }
                    for (start, end), probability in places
                ]
            }

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """Scores by what questions ask for, and the questions answered worst."""
        answered = self._answered(rows)
        return question_tables((question, self._given(question, s)) for question, s in answered)

    def _answered(self, rows: Rows) -> Iterator[tuple[Question, Spans]]:
        """Questions that have rows, and their best answers."""
        numbers = [self.windows[row] for row in rows["row_ids"].tolist()]
        owners = np.array([window.question for window in numbers])
        bounds = [*np.flatnonzero(np.diff(owners, prepend=-1)).tolist(), len(owners)]
        for first, stop in pairwise(bounds):
            spans = best_spans(
                [window.context for window in numbers[first:stop]],
                rows["start_logits"][first:stop],
                rows["end_logits"][first:stop],
                count=self.config.n_best,
                max_tokens=self.config.max_answer_length,
            )
            yield self.questions[int(owners[first])], spans

    def _given(self, question: Question, spans: Spans) -> str:
        """The best answer, or "" where there is rather none."""
        if self.config.unanswerable and spans.no_answer_excess > self.config.null_threshold:
            return ""
        return _best(question, spans)


def _best(question: Question, spans: Spans) -> str:
    """ "" where the context has no tokens."""
    return "".join(question.context[start:end] for start, end in spans.characters[:1].tolist())


def _position_losses(logits: Array, positions: Array, batch: Batch) -> Array:
    """Cross-entropies over the tokens of every example: [batch], packed [batch, examples]."""
    examples = _laid_out(batch)
    if examples.sequence_starts is not None:
        positions = positions + examples.sequence_starts
    labels = jnp.where(batch["row_ids"] >= 0, positions, IGNORED)
    return cross_entropies(_own(logits, examples), labels)


def _laid_out(batch: Batch) -> Examples:
    return lay_out(
        batch["input_ids"],
        batch.get("attention_mask"),
        batch.get("sequence_ids"),
        batch.get("sequence_starts"),
    )


def _own(logits: Array | None, examples: Examples) -> Array:
    """Of every example those of its own tokens: [batch, seq], packed [batch, examples, seq]."""
    assert logits is not None
    logits = logits.astype(jnp.float32)
    if examples.sequence_starts is not None:
        logits = logits[:, None]
    # Finite, because a softmax over no tokens at all must have gradients.
    return jnp.where(examples.members, logits, jnp.finfo(jnp.float32).min)


def _windows(
    questions: Sequence[Question], tokenizer: Tokenizer, length: int, stride: int
) -> Iterator[Window]:
    for begin in range(0, len(questions), _AT_ONCE):
        some = questions[begin : begin + _AT_ONCE]
        # As run_qa.py: where spaces are tokens, those before a question would fill the window.
        asked = [question.question.lstrip() for question in some]
        texts = tokenizer.encode_whole(asked, [question.context for question in some])
        for number, (question, text) in enumerate(zip(some, texts, strict=True), begin):
            try:
                places = windows(text, length, stride)
            except UserError as error:
                raise UserError(f"{question.place}: {error}") from None
            yield from _cut(number, question, _of_letters(text, question.context), places)


def _of_letters(text: EncodedText, context: str) -> EncodedText:
    """With the offsets of the context's tokens that answers are cut out by."""
    is_context, offsets = text.members == 1, text.offsets.copy()
    offsets[is_context] = whole_letters(context, offsets[is_context])
    return text._replace(offsets=offsets)


def _cut(
    number: int, question: Question, text: EncodedText, places: Iterable[np.ndarray]
) -> Iterator[Window]:
    """Training has the first of several answers, which are opinions on what it is."""
    answer = None
    is_context = text.members == 1
    if question.answers and is_context.any():
        first = question.answers[0]
        answer = answer_tokens(text, first.start, first.start + len(first.text))
    for window in places:
        columns = np.flatnonzero(is_context[window]).astype(np.int32)
        yield Window(
            number,
            text.input_ids[window],
            text.token_type_ids[window],
            ContextTokens(columns, text.offsets[window[columns]]),
            answer_labels(window, answer),
        )
