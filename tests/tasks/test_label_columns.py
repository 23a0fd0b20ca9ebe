"""Several labels a row, in every form that tables have them in; names and numbers of classes."""

from typing import Any

import numpy as np
import pytest

from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.tasks.labels import class_indices, label_matrix, label_names, label_set_names
from jaxbert.tasks.sentences import SentenceColumns, Sentences

FLAGS = SentenceColumns(label=("joy", "anger"))
NAMES = ("admiration", "joy", "anger")


def rows(*labels: Any, columns: SentenceColumns | None = None) -> Sentences:
    found = [x if isinstance(x, dict) else {"label": x} for x in labels]
    table = tuple(Row(values, "t.tsv", i) for i, values in enumerate(found, start=1))
    return Sentences(table, columns or SentenceColumns())


@pytest.mark.parametrize(
    "labels",
    [
        ("joy,anger", "", "admiration"),
        ("joy, anger", None, "admiration"),
        ("2,1", "", "0"),
        (["joy", "anger"], [], ["admiration"]),
        ([1, 2], [], 0),
    ],
)
def test_labels_are_names_or_numbers_in_one_column_or_in_a_list(labels: Any):
    found = label_matrix(rows(*labels), NAMES)
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_labels_are_named_after_their_columns():
    values = ({"joy": "1", "anger": "0"}, {"joy": 0, "anger": True}, {"joy": 1.0, "anger": 0.0})
    table = rows(*values, columns=FLAGS)
    assert label_set_names(table) == ("joy", "anger")
    assert label_matrix(table, ("anger", "joy")).tolist() == [[0, 1], [1, 0], [0, 1]]


def test_another_separator_may_stand_between_labels():
    table = rows("a,b|c", "c", columns=SentenceColumns(label_separator="|"))
    assert label_set_names(table) == ("a,b", "c")


def test_labels_that_occur_sort_by_value_where_all_are_whole_numbers():
    assert label_set_names(rows("10,9", "", "2")) == ("2", "9", "10")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (rows("joy", "joy,,anger"), r"t.tsv:2: 'label' is 'joy,,anger', expected names"),
        (rows("['joy', 'anger']"), r"t.tsv:1: 'label' is .*, a list as Python prints it; write"),
        (rows("joy", "[1, 2]"), r"t.tsv:2: 'label' is '\[1, 2\]', a list as Python prints it"),
        (rows("[]"), r"t.tsv:1: 'label' is '\[\]', a list as Python prints it"),
        (rows("joy", [0.5]), r"t.tsv:2: 'label' is \[0.5\], expected names"),
        (rows("joy", "jy", "7"), r"t.tsv:2: label 'jy' .*did you mean 'joy'.*1 more such rows"),
        (rows({"joy": "1", "anger": "2"}, columns=FLAGS), r"t.tsv:1: 'anger' is '2', expected 0"),
    ],
)
def test_what_is_no_label_is_named_with_its_row(table: Sentences, message: str):
    with pytest.raises(UserError, match=message):
        label_matrix(table, NAMES)


def test_numbers_stand_for_named_classes_but_never_for_classes_that_are_numbers():
    assert class_indices(rows("2", 0, "joy"), NAMES).tolist() == [2, 0, 1]
    assert class_indices(rows("2", "1"), ("1", "2", "3")).tolist() == [1, 0]
    with pytest.raises(UserError, match="label '0' is none of the model's"):
        class_indices(rows("0"), ("1", "2", "3"))


def test_labels_that_differ_in_white_space_or_capitals_alone_are_warned_of(caplog: Any):
    assert label_names(rows("yes ", "no", "Yes", "yes")) == ("Yes", "no", "yes", "yes ")
    [message] = caplog.messages
    assert "different classes: 'Yes', 'yes', 'yes '; make them equal" in message
    caplog.clear()
    assert label_names(rows("yes", "no")) == ("no", "yes")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("given", "labels", "expected"),
    [
        # In the order of the data set, and those that do not occur.
        (("neg", "pos", "neutral"), (1, 0), ("neg", "pos", "neutral")),
        (("neg", "pos"), ("pos", "neg", "mixed"), ("mixed", "neg", "pos")),
        # Stars from 1 to 3, of which rows have the numbers 0 to 2 or the stars themselves.
        (("1", "2", "3"), (0, 2), ("0", "2")),
        ((), (1, 0), ("0", "1")),
    ],
)
def test_classes_are_called_as_their_data_set_names_the_numbers(given, labels, expected):
    classes = {"label": given} if given else {}
    table = tuple(Row({"label": x}, "hf:set", i, classes) for i, x in enumerate(labels, 1))
    sentences = Sentences(table, SentenceColumns())
    assert label_names(sentences) == expected
    if expected == given:
        assert class_indices(sentences, expected).tolist() == [*labels]


@pytest.mark.parametrize(
    ("named", "labels", "expected"),
    [
        # Named in another order, or in other capitals: the names count.
        (("no", "yes"), ("yes", "no"), [1, 0, 0]),
        (("no", "yes"), ("YES", "maybe", "NO"), [2, 0, 0]),
        # Names that have nothing in common with the model's, or are numbers: the numbers count.
        (("no", "yes"), ("LABEL_0", "LABEL_1"), [0, 1, 1]),
        (("1", "2"), ("0", "1"), [0, 1, 1]),
    ],
)
def test_numbers_that_a_data_set_names_are_its_names(named, labels, expected):
    table = tuple(Row({"label": n}, "hf:a", i, {"label": named}) for i, n in enumerate((0, 1, 1)))
    assert class_indices(Sentences(table, SentenceColumns()), labels).tolist() == expected


def test_a_number_whose_name_the_model_does_not_know_is_refused():
    table = (Row({"label": 1}, "hf:a", 3, {"label": ("no", "perhaps", "yes")}),)
    with pytest.raises(UserError, match="hf:a:3: label 'perhaps' is none of the model's"):
        class_indices(Sentences(table, SentenceColumns()), ("no", "yes"))
