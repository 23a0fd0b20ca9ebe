"""Breakdowns and mistakes that a report shows."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from jaxbert.data.squad import Answer, Question
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.question_tables import question_tables
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.tables import MANY, class_table

DRAWS = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 57])
def test_scores_of_classes_are_scikit_learns(rows: int):
    labels, predictions = DRAWS.integers(0, 5, (2, rows))
    found = class_table(labels, predictions, list("abcde")).rows
    expected = precision_recall_fscore_support(
        labels, predictions, labels=range(5), zero_division=0.0
    )
    assert [row[0] for row in found] == list("abcde")
    for column, values in zip((2, 3, 4, 1), expected, strict=True):
        assert [row[column] for row in found] == pytest.approx(values.tolist(), abs=1e-15)


def test_without_rows_all_is_zero():
    none = np.zeros(0, np.int32)
    assert class_table(none, none, ["a"]).rows == (("a", 0, 0.0, 0.0, 0.0, ""),)


def test_a_class_says_what_it_is_most_often_taken_for():
    table = class_table(np.array([0, 0, 0, 0, 1]), np.array([0, 1, 2, 2, 1]), ["a", "b", "c"])
    assert [row[-1] for row in table.rows] == ["c (2)", "", ""]


def test_of_many_classes_those_with_the_most_mistakes_are_shown():
    labels = np.arange(100)
    predictions = np.where(labels < 30, labels, 99)
    table = class_table(labels, predictions, [str(label) for label in labels])
    assert len(table.rows) == MANY
    assert table.rows[0][:2] == ("99", 1)
    assert table.title == "The 20 classes of 100 with the most mistakes"
    assert not {row[0] for row in table.rows} & {str(label) for label in range(30)}


def test_wrong_classes_come_by_their_probability_and_right_ones_not():
    logits = np.array([[0.0, 1.0], [0.0, 3.0], [5.0, 0.0], [0.0, 9.0]], np.float32)
    labels = np.array([0, 0, 0, 1])
    found = list(SingleLabel(("a", "b")).mistakes(labels, {"logits": logits}))
    assert [mistake[:3] for mistake in found] == [(1, "a", "b"), (0, "a", "b")]
    assert found[0][3] == pytest.approx(1 / (1 + np.exp(-3.0)))
    many = SingleLabel(tuple(map(str, range(200))))
    top = {
        "classes": np.array([[7, 3], [4, 9]]),
        "log_probabilities": np.log(np.array([[0.5, 0.1], [0.25, 0.2]])),
    }
    assert list(many.mistakes(np.array([7, 9]), top)) == [(1, "9", "4", pytest.approx(0.25))]


@pytest.mark.parametrize("size", [1, 3])
def test_scores_of_labels_are_scikit_learns_at_their_thresholds(size: int):
    thresholds = (0.3, 0.5, 0.7)[:size]
    target = MultiLabel(("x", "y", "z")[:size], thresholds)
    labels = (DRAWS.random((40, size)) < 0.4).astype(np.float32)
    logits = DRAWS.normal(size=(40, size))
    [table] = target.tables(labels, {"logits": logits})
    predicted = 1 / (1 + np.exp(-logits)) >= np.array(thresholds)
    for place, row in enumerate(table.rows):
        expected = precision_recall_fscore_support(
            labels[:, place], predicted[:, place], average="binary", zero_division=0.0
        )
        assert row[2:5] == pytest.approx(expected[:3])
        assert row[1] == labels[:, place].sum()
        assert row[5] == thresholds[place]


def test_of_many_labels_those_with_the_most_mistakes_are_shown():
    names = tuple(map(str, range(50)))
    wrong = DRAWS.permutation(50)
    # Label i is predicted rightly for all but wrong[i] of the texts.
    labels = (DRAWS.random((60, 50)) < 0.5).astype(np.float32)
    is_wrong = np.arange(60)[:, None] < wrong
    logits = np.where((labels > 0) != is_wrong, 1.0, -1.0)
    [table] = MultiLabel(names).tables(labels, {"logits": logits})
    assert [row[0] for row in table.rows] == [names[i] for i in np.argsort(-wrong)[:MANY]]
    assert table.title == "The 20 labels of 50 with most mistakes"


def test_texts_with_most_wrong_labels_come_first():
    target = MultiLabel(("x", "y"))
    labels = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    logits = np.array([[2.0, 1.0], [-1.0, -1.0], [-1.0, -1.0], [-1.0, -3.0]])
    found = [mistake[:3] for mistake in target.mistakes(labels, {"logits": logits})]
    assert found == [(1, "x, y", ""), (3, "y", ""), (0, "x", "x, y")]


def test_numbers_come_by_their_difference():
    outputs, labels = {"logits": np.array([[1.0], [2.5], [3.0]])}, np.array([1.0, 2.0, 5.0])
    found = list(Regression().mistakes(labels, outputs))
    assert [mistake[0] for mistake in found] == [2, 1, 0]
    assert found[0][1:] == (5.0, 3.0, -2.0)
    [table] = Regression().tables(labels, outputs)
    assert table.rows[0] == ("50%", 0.5)
    assert Regression().tables(labels[:0], {"logits": np.zeros((0, 1))})[0].rows == ()


def test_questions_are_scored_by_what_they_ask_for_and_the_worst_shown():
    def question(text: str, *answers: str) -> Question:
        return Question("1", text, "context", tuple(Answer(a, 0) for a in answers), "dev.json")

    kinds, worst = question_tables(
        [
            (question("What is it?", "the cat"), "cat"),
            (question("In what year?", "1 May 1900"), "1900"),
            (question("Is it so?"), ""),
            (question("Who was there?"), "Ada"),
        ]
    )
    assert kinds.rows == (
        ("what", 2, 50.0, 75.0),
        ("other", 1, 100.0, 100.0),
        ("who", 1, 0.0, 0.0),
    )
    assert worst.rows == (
        ("dev.json", "Who was there?", "", "Ada", 0.0),
        ("dev.json", "In what year?", "1 May 1900", "1900", 0.5),
    )
