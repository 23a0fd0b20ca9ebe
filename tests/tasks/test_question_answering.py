"""Losses of packed and padded rows, and questions on their way to windows and back."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.data.squad import Answer, Question
from jaxbert.errors import UserError
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.question_answering import (
    AskedQuestions,
    QuestionAnswering,
    QuestionAnsweringConfig,
)
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_unigram, train_wordpiece

TASK = QuestionAnswering()
V2 = QuestionAnswering(QuestionAnsweringConfig(unanswerable=True, n_best=3))
CONTEXT = "the old cat sees a green tree and finds nothing unbelievable in it ."
NAMES = ("start_logits", "end_logits")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([CONTEXT, "who what sees"] * 3, 90, min_frequency=1)


def question(name: str, text: str | None, asked: str = "what", context: str = CONTEXT) -> Question:
    answers = () if text is None else (Answer(text, context.index(text)), Answer("cat", 8))
    return Question(name, asked, context, answers, f"dev.json: question {name!r}")


QUESTIONS = (
    question("a", "green tree"),
    question("b", "nothing unbelievable", "who sees"),
    question("c", None),
    question("d", "cat", context="the old cat"),
)
READING = Reading(14, windows=WindowConfig(stride=4))


def asked(tokenizer: Tokenizer, task: QuestionAnswering = V2, **options: Any) -> AskedQuestions:
    return task.examples(QUESTIONS, tokenizer, READING, labelled=True, **options)


def certain(examples: AskedQuestions) -> dict[str, Any]:
    """Outputs that say what the labels say, a window's label more surely than a [CLS]."""
    rows: dict[str, Any] = {name: [] for name in NAMES}
    for window in examples.windows:
        for name, place in zip(NAMES, window.answer, strict=True):
            logits = np.zeros(len(window.input_ids), np.float32)
            logits[place] = 5 if place else 4
            rows[name].append(logits)
    return rows | {"row_ids": np.arange(len(examples.windows))}


def losses(batch: Any, start: Any, end: Any) -> tuple[Any, Any]:
    batch = {name: jnp.asarray(values) for name, values in batch.items()}

    def total(start: jax.Array, end: jax.Array) -> jax.Array:
        hidden = jnp.zeros((*start.shape, 1))
        output = ModelOutput(hidden, start_logits=start, end_logits=end)
        return TASK.loss_sums(output, batch)["loss"]

    assert float(TASK.loss_weights(batch)["loss"]) == (batch["row_ids"] >= 0).sum()
    return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(start, end)


def test_packed_and_padded_windows_have_the_loss_of_each_alone(tokenizer: Tokenizer):
    examples = asked(tokenizer)
    table = EncodedExamples(examples.features, pad_id=0)
    generator = np.random.default_rng(0)
    logits = [generator.normal(size=(2, n)).astype(np.float32) * 4 for n in table.lengths]
    labels = [window.answer for window in examples.windows]
    expected = sum(
        (logsumexp(two.astype(np.float64), axis=1) - two[[0, 1], list(label)]).mean()
        for two, label in zip(logits, labels, strict=True)
    )
    rows = PackedLabelledRows(table, seed=0, length=30)
    packed = rows.evaluation_rows(np.array([*range(rows.num_rows), -1]))
    padded = table.padded(np.array([*range(len(table)), -1]), 17)
    gradients = {}
    for kind, batch in (("packed", packed), ("padded", padded)):
        laid = np.full((2, *batch["input_ids"].shape), 9.0, np.float32)
        where = {}
        for row, column in np.argwhere(batch["row_ids"].reshape(len(laid[0]), -1) >= 0):
            number = batch["row_ids"].reshape(len(laid[0]), -1)[row, column]
            first = batch["sequence_starts"][row, column] if kind == "packed" else 0
            where[number] = (slice(None), row, slice(first, first + table.lengths[number]))
            laid[where[number]] = logits[number]
        value, gradient = losses(batch, *laid)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        gradient = np.stack(gradient)
        gradients[kind] = [gradient[where[number]] for number in range(len(table))]
        total = sum(np.abs(part).sum() for part in gradients[kind])
        np.testing.assert_allclose(np.abs(gradient).sum(), total, rtol=1e-5)
    assert (packed["sequence_ids"] > 1).any()
    for found, wanted in zip(gradients["packed"], gradients["padded"], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_every_window_is_labelled_with_the_answer_that_it_has(tokenizer: Tokenizer):
    examples = asked(tokenizer)
    owners = [window.question for window in examples.windows]
    assert owners == sorted(owners)
    assert set(owners) == {0, 1, 2, 3}
    assert len(owners) > 4
    for window in examples.windows:
        asked_for = QUESTIONS[window.question]
        assert len(window.input_ids) <= 14
        if window.answer == (0, 0):
            continue
        first, last = np.searchsorted(window.context.columns, window.answer)
        characters = slice(window.context.offsets[first, 0], window.context.offsets[last, 1])
        assert asked_for.context[characters] == asked_for.answers[0].text
    answered = {window.question for window in examples.windows if window.answer != (0, 0)}
    assert answered == {0, 1, 3}


def test_windows_know_their_question_however_many_are_tokenised_together(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    def windows() -> list[Any]:
        return [
            (w.question, w.input_ids.tolist(), w.context.offsets.tolist(), w.answer)
            for w in asked(tokenizer).windows
        ]

    together = windows()
    for number in (1, 3):
        monkeypatch.setattr("jaxbert.tasks.question_answering._AT_ONCE", number)
        assert windows() == together


def test_a_question_has_the_best_answer_of_all_its_windows(tokenizer: Tokenizer):
    examples = asked(tokenizer)
    found = list(examples.predictions(certain(examples)))
    assert [p["id"] for p in found] == ["a", "b", "c", "d"]
    expected = ["green tree", "nothing unbelievable", "", "cat"]
    assert [p["prediction_text"] for p in found] == expected
    for prediction, q in zip(found, QUESTIONS, strict=True):
        assert len(prediction["n_best"]) == 3
        for answer in prediction["n_best"]:
            assert answer["text"] == q.context[answer["start"] : answer["end"]]
        chances = [answer["probability"] for answer in prediction["n_best"]]
        assert sum(chances) + prediction["no_answer_probability"] == pytest.approx(1)
        assert chances == sorted(chances, reverse=True)
    metrics = examples.metrics({"loss": 2.0}, certain(examples))
    assert metrics["loss"] == 2.0
    names = ("exact", "f1", "HasAns_exact", "NoAns_exact", "best_exact", "best_f1")
    assert [metrics[name] for name in names] == [100.0] * 6


def test_metrics_are_of_the_questions_that_have_rows(tokenizer: Tokenizer):
    examples = asked(tokenizer)
    rows = certain(examples)
    owners = np.array([window.question for window in examples.windows])
    for name in NAMES:
        for row in np.flatnonzero(owners == 1):
            rows[name][row][:] = 0.0
    assert examples.metrics({}, rows)["exact"] == 75.0
    kept = np.flatnonzero(owners != 1).tolist()
    some = {name: [rows[name][i] for i in kept] for name in NAMES} | {"row_ids": np.array(kept)}
    assert examples.metrics({}, some)["exact"] == 100.0


def test_v1_always_answers_and_a_threshold_decides_in_v2(tokenizer: Tokenizer):
    rows = certain(asked(tokenizer))
    (first, *_) = asked(tokenizer, TASK).predictions(rows)
    assert set(first) == {"id", "prediction_text", "n_best"}
    assert sum(answer["probability"] for answer in first["n_best"]) == pytest.approx(1)
    unsure = QuestionAnswering(QuestionAnsweringConfig(unanswerable=True, null_threshold=100.0))
    for task in (TASK, unsure):
        found = [p["prediction_text"] for p in asked(tokenizer, task).predictions(rows)]
        assert all(found)
    answered = QuestionAnswering().examples(QUESTIONS[:2], tokenizer, READING, labelled=True)
    assert answered.metrics({}, certain(answered)) == {"exact_match": 100.0, "f1": 100.0}


def test_an_answer_is_no_longer_than_it_may_be(tokenizer: Tokenizer):
    task = QuestionAnswering(QuestionAnsweringConfig(max_answer_length=1))
    examples = asked(tokenizer, task)
    for prediction in examples.predictions(certain(examples)):
        assert all(" " not in answer["text"] for answer in prediction["n_best"])


def test_without_labels_there_are_no_columns_of_them(tokenizer: Tokenizer):
    bare = TASK.examples(QUESTIONS, tokenizer, READING, labelled=False)
    assert set(bare.features) == {"input_ids", "token_type_ids"}
    assert set(asked(tokenizer).features) - set(bare.features) == set(TASK.columns)
    rows = [window.input_ids.tolist() for window in bare.windows]
    assert rows == [window.input_ids.tolist() for window in asked(tokenizer).windows]


def test_empty_texts_are_read_and_have_no_answer(tokenizer: Tokenizer):
    empty = (Question("e", "", CONTEXT, None, "e"), Question("f", "what", "", None, "f"))
    for task in (TASK, V2):
        examples = task.examples(empty, tokenizer, Reading(64), labelled=False)
        first, second = examples.predictions(certain(examples))
        assert first["n_best"]
        assert second["prediction_text"] == ""
        assert second["n_best"] == []


def test_windows_that_cannot_be_are_refused_with_the_question(tokenizer: Tokenizer):
    long = question("q7", "cat", "what who sees " * 8)
    with pytest.raises(
        UserError, match=r"dev\.json: question 'q7': a window of 14 tokens has room"
    ):
        TASK.examples([long], tokenizer, READING, labelled=True)
    with pytest.raises(UserError, match="truncation=tail: question answering reads all"):
        TASK.examples(QUESTIONS, tokenizer, Reading(14, "tail"), labelled=True)


def test_a_question_without_answers_asks_for_v2(tmp_path: Path):
    file = tmp_path / "dev.jsonl"
    row = {"id": "n", "question": "what", "context": CONTEXT, "answers": []}
    file.write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"dev.jsonl:1: question 'n': .* task.unanswerable=true"):
        list(QuestionAnsweringConfig().read(str(file), labelled=True))
    (found,) = QuestionAnsweringConfig(unanswerable=True).read(str(file), labelled=True)
    assert found.answers == ()
    assert [q.answers for q in QuestionAnsweringConfig().read(str(file), labelled=False)] == [None]


FRENCH = "il va au cafe\u0301 ou a\u0300 l'ho\u0302tel"


@pytest.mark.parametrize("answer", ["cafe\u0301", "a\u0300", "au cafe\u0301", "l'ho\u0302tel"])
@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_answers_are_whole_letters_without_a_space_before_them(family: str, answer: str):
    texts = [FRENCH, "what is it"] * 3
    if family == "bert":
        made = train_wordpiece(texts, 90, min_frequency=1)
    else:
        made = train_unigram(texts, 60, family="deberta-v2")
    one = Question("1", "what", FRENCH, (Answer(answer, FRENCH.index(answer)),), "a.json: 1")
    examples = TASK.examples([one], made, Reading(64), labelled=True)
    (found,) = examples.predictions(certain(examples))
    assert found["prediction_text"] == answer
    assert found["n_best"][0]["start"] == FRENCH.index(answer)
