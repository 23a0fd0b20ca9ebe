"""Tables of sentences: columns, labels, numbers, and what is wrong with them."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data.reading import Reading, encode
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.tasks.labels import class_indices, label_names, label_values
from jaxbert.tasks.sentences import SentenceColumns, Sentences, read_sentences
from jaxbert.text.training import train_wordpiece

PAIRS = SentenceColumns("a", "b", "label")


def write(directory: Path, name: str, content: str | bytes) -> str:
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(path: str, columns: SentenceColumns, *, labelled: bool) -> Sentences:
    return Sentences(tuple(read_sentences(path, columns, labelled=labelled)), columns)


def labelled(*labels: Any) -> Sentences:
    """Rows with these labels, as a reader would give them."""
    rows = tuple(Row({"label": x}, "t.jsonl", i) for i, x in enumerate(labels, start=1))
    return Sentences(rows, SentenceColumns())


TABLES = [
    ("t.csv", 'a,b,label\n"one, two",x,no\nthree,"y ""z""",yes\n'),
    ("t.tsv", 'label\ta\tb\nno\tone, two\tx\nyes\tthree\ty "z"\n'),
    ("bom.csv", b'\xef\xbb\xbfa,b,label\r\n"one, two",x,no\r\nthree,"y ""z""",yes\r\n'),
    (
        "t.jsonl",
        "".join(
            json.dumps({"label": label, "b": b, "a": a, "other": 1}) + "\n"
            for a, b, label in (("one, two", "x", "no"), ("three", 'y "z"', "yes"))
        ),
    ),
    ("t.csv.gz", gzip.compress(b'a,b,label\n"one, two",x,no\nthree,"y ""z""",yes\n')),
]


@pytest.mark.parametrize(("name", "content"), TABLES, ids=[name for name, _ in TABLES])
def test_the_same_table_reads_the_same_in_every_format(
    tmp_path: Path, name: str, content: str | bytes
):
    found = read(write(tmp_path, name, content), PAIRS, labelled=True)
    assert (found.texts, found.pairs) == (["one, two", "three"], ["x", 'y "z"'])
    assert label_names(found) == ("no", "yes")
    assert class_indices(found, ("yes", "no")).tolist() == [1, 0]


def test_a_table_without_header_gets_its_names_from_the_columns(tmp_path: Path):
    path = write(tmp_path, "cola.tsv", "gj04\t1\t\tA sentence.\nbc81\t0\t*\tSentence a.\n")
    columns = SentenceColumns("sentence", None, "label", ("source", "label", "mark", "sentence"))
    found = read(path, columns, labelled=True)
    assert (found.texts, found.pairs) == (["A sentence.", "Sentence a."], None)
    assert label_names(found) == ("0", "1")


def test_without_labels_their_column_may_be_absent(tmp_path: Path):
    path = write(tmp_path, "t.tsv", "a\tb\nx\ty\n")
    assert read(path, PAIRS, labelled=False).texts == ["x"]
    with pytest.raises(UserError, match="no column label; the columns are: a, b"):
        read(path, PAIRS, labelled=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.csv", "a,b,label\n1,2,3\n4,5\n", "short.csv:3: .*every row counts"),
        ("bad.jsonl", '{"a": "x", "b": "y", "label": 1}\n{"a": \n', "bad.jsonl:2: "),
        ("gap.jsonl", '{"a": "x", "b": "y", "label": 1}\n{"a": "z"}\n', "gap.jsonl:2: "),
        ("empty.csv", "a,b,label\n", "empty.csv: no rows"),
    ],
)
def test_a_malformed_row_stops_the_reading_by_file_and_line(
    tmp_path: Path, name: str, content: str, message: str
):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, name, content), PAIRS, labelled=True)


def test_text_that_is_not_text_is_named(tmp_path: Path):
    path = write(tmp_path, "t.jsonl", '{"a": "x", "b": "y"}\n{"a": 3, "b": "y"}\n')
    found = read(path, PAIRS, labelled=False)
    with pytest.raises(UserError, match=r"t.jsonl:2: 'a' is int, expected text; correct or remove"):
        _ = found.texts


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("10", "9", "-1", "9"), ("-1", "9", "10")),
        ((10, 9, -1), ("-1", "9", "10")),
        (("b", "a", "10"), ("10", "a", "b")),
        (("01", "1", "0"), ("0", "01", "1")),
        (("²", "1"), ("1", "²")),
        (("--5", "1"), ("--5", "1")),
        (("1.5", "10", "9"), ("1.5", "10", "9")),
        ((True, False), ("False", "True")),
    ],
)
def test_labels_sort_by_value_where_all_are_whole_numbers(labels: Any, names: tuple[str, ...]):
    assert label_names(labelled(*labels)) == names


@pytest.mark.parametrize("label", [None, "", 1.0, ["a"], {"a": 1}, b"a"])
def test_what_cannot_be_a_class_is_named_with_a_remedy(label: Any):
    with pytest.raises(
        UserError, match=r"t.jsonl:2: 'label' is .*; correct or remove the row .*regression=true"
    ):
        label_names(labelled("a", label))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.tsv", "sentence\tlabel\na\t1\nb\t\n", r"t.tsv:3: 'label' is '', expected the name"),
        (
            "t.csv",
            "sentence,label\na,1\nb\n",
            r"t.csv:3: 1 fields, expected 2; correct or remove",
        ),
        ("t.jsonl", '{"sentence": "a", "label": 1}\n{"sentence": "b"}\n', r"t.jsonl:2: no label"),
        ("t.jsonl", '{"sentence": "a", "label": null}\n', r"t.jsonl:1: 'label' is None"),
        ("t.jsonl", '{"sentence": "a", "label": 0.5}\n', r"t.jsonl:1: 'label' is 0.5, expected"),
    ],
)
def test_a_row_of_a_file_without_a_usable_label_is_named_with_the_remedy(
    tmp_path: Path, name: str, content: str, message: str
):
    with pytest.raises(UserError, match=message) as caught:
        label_names(read(write(tmp_path, name, content), SentenceColumns(), labelled=True))
    assert "correct or remove" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unlabelled_rows_of_a_benchmark_are_refused_by_a_model_with_labels():
    with pytest.raises(
        UserError, match=r"t.jsonl:2: label '-1' is none of the model's: .*correct or remove"
    ):
        class_indices(labelled(0, -1), ("0", "1"))


def test_a_label_that_the_model_lacks_is_named_with_the_nearest():
    with pytest.raises(
        UserError, match=r"t.jsonl:3: label 'postive' .*did you mean 'positive'\?; correct"
    ):
        class_indices(labelled("negative", "positive", "postive"), ("negative", "positive"))


def test_class_indices_follow_the_order_of_the_model():
    found = class_indices(labelled("c", "a", "b", "a"), ("b", "c", "a"))
    assert found.dtype == np.int32
    assert found.tolist() == [1, 2, 0, 2]


def test_numbers_are_read_as_float32():
    found = label_values(labelled("0.1", 3, "-1e3", " 2 "))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([0.1, 3, -1000, 2], np.float32))


@pytest.mark.parametrize("label", ["much", "", None, "nan", "inf", 10**400, [1.0]])
def test_what_is_no_finite_number_is_named(label: Any):
    with pytest.raises(
        UserError, match=r"t.jsonl:2: 'label' is .*, expected a number; correct or remove"
    ):
        label_values(labelled(1.0, label))


def test_a_number_that_would_be_infinite_in_a_batch_is_named():
    with pytest.raises(UserError, match=r"t.jsonl:2: 'label' is -1e\+39, expected a number that f"):
        label_values(labelled(3.4e38, -1e39))


def test_features_are_cut_to_length_and_tell_the_two_sentences_apart(tmp_path: Path):
    path = write(tmp_path, "t.tsv", "a\tb\nred green\tblue\nred\t" + "blue " * 20 + "\n")
    found = read(path, PAIRS, labelled=False)
    tokenizer = train_wordpiece(found.texts + (found.pairs or []), 100, min_frequency=1)
    features = encode(tokenizer, found.texts, found.pairs, Reading(max_seq_length=10))
    assert [len(ids) for ids in features["input_ids"]] == [6, 10]
    assert features["token_type_ids"][0].tolist() == [0, 0, 0, 0, 1, 1]
    first = tokenizer.decode(features["input_ids"][0].tolist())
    assert first.split() == ["red", "green", "blue"]
