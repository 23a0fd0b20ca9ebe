"""What predict reads and writes: standard input, text files, tables out, the best classes."""

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jaxbert.cli.output import check_is_not_read, out_file, write_whole
from jaxbert.cli.predictions import lines_of, most_probable
from jaxbert.data.problems import Problems
from jaxbert.data.tables import read_rows
from jaxbert.errors import UserError

PREDICTIONS = [
    {"label": "a, b", "probabilities": {"c": 0.25, "a, b": 0.75}},
    {"label": "c", "probabilities": {"c": 0.875, "a, b": 0.125}},
]


def test_without_a_name_of_a_table_predictions_are_json_lines():
    for out in (None, Path("p.jsonl"), Path("p")):
        assert [json.loads(line) for line in lines_of(PREDICTIONS, out)] == PREDICTIONS


@pytest.mark.parametrize("name", ["p.csv", "P.TSV"])
def test_a_table_has_label_probability_and_the_rest_as_json_and_is_read_as_it_was(tmp_path, name):
    labels = ['a, "b"', '"c"', "d"]
    predictions = [{"label": x, "probabilities": {x: 0.75, "e": 0.25}} for x in labels]
    write_whole(tmp_path / name, lines_of(predictions, Path(name)))
    problems = Problems()
    rows = [row.values for row in read_rows(tmp_path / name, problems=problems)]
    assert [row["label"] for row in rows] == labels
    assert [float(row["probability"]) for row in rows] == [0.75] * 3
    assert [json.loads(row["probabilities"]) for row in rows] == [
        prediction["probabilities"] for prediction in predictions
    ]
    assert not problems.counts


def test_tabs_and_line_breaks_are_blanks_in_tsv():
    lines = lines_of([{"label": "a\tb\r\nc"}], Path("p.tsv"))
    assert list(lines) == ["label", "a b  c"]


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\r\nb", "\n", 'a "b",\nc'])
def test_line_breaks_stay_within_their_field_in_csv(tmp_path, text):
    predictions = [{"text": text, "masks": [1]}, {"text": "b", "masks": [2]}]
    write_whole(tmp_path / "p.csv", lines_of(predictions, Path("p.csv")))
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"text": text, "masks": "[1]"}, {"text": "b", "masks": "[2]"}]


def test_a_table_of_numbers_or_of_nothing():
    assert list(lines_of([{"value": 1.5}, {"value": None}], Path("p.csv"))) == [
        "value",
        "1.5",
        '""',
    ]
    assert list(lines_of([], Path("p.csv"))) == []
    assert list(lines_of([], Path("p.csv"), lambda: PREDICTIONS[0])) == [
        "label,probability,probabilities"
    ]
    assert list(lines_of([], None, lambda: PREDICTIONS[0])) == []


@pytest.mark.parametrize("name", ["p.parquet", "p.csv.gz", "p.JSONL.xz"])
def test_what_is_not_written_is_refused(name):
    with pytest.raises(UserError, match=r"is written as text: expected \.jsonl, \.csv or"):
        out_file(name, "data.csv")


def test_the_most_probable_come_first():
    assert list(most_probable(PREDICTIONS[0], 1)["probabilities"]) == ["a, b"]
    assert list(most_probable(PREDICTIONS[0], 5)["probabilities"]) == ["a, b", "c"]
    assert most_probable(PREDICTIONS[0], None) == PREDICTIONS[0]
    assert most_probable({"id": 1, "n_best": [3, 2, 1]}, 2) == {"id": 1, "n_best": [3, 2]}


@pytest.mark.parametrize(
    "prediction",
    [{"choice": 1, "probabilities": [0.25, 0.75]}, {"words": ["a"], "tags": ["O"]}, {"value": 1.5}],
)
def test_without_classes_or_answers_the_most_probable_are_refused(prediction):
    assert most_probable(prediction, None) == prediction
    with pytest.raises(UserError, match=rf"--top-k 2: .*\({', '.join(prediction)}\) has neither"):
        most_probable(prediction, 2)


READ = """
from jaxbert.data.problems import Problems
from jaxbert.data.tables import read_rows
import sys
for row in read_rows("-", columns=sys.argv[1:], problems=Problems()):
    print(row.line, [row.values[name] for name in sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("given", "columns", "expected"),
    [
        ("one\n\n two \r\nlast", ["text"], "1 ['one']\n2 ['']\n3 [' two ']\n4 ['last']\n"),
        ('{"a": "x", "b": "y"}\n{"b": "", "a": "z"}\n', ["a", "b"], "1 ['x', 'y']\n2 ['z', '']\n"),
        ('\n \n{"text": "x"}\n\n{"text": "y"}\n', ["text"], "3 ['x']\n5 ['y']\n"),
        ("\n\none\n", ["text"], "1 ['']\n2 ['']\n3 ['one']\n"),
        ("\n", ["text"], "1 ['']\n"),
        ("", ["text"], ""),
    ],
)
def test_standard_input_holds_texts_or_json_objects(given, columns, expected):
    command = [sys.executable, "-c", READ, *columns]
    found = subprocess.run(command, input=given.encode(), capture_output=True, check=True)
    assert found.stdout.decode() == expected


READ_WHOLE = """
from jaxbert.data.tables import whole_rows
from jaxbert.errors import UserError
import sys
try:
    print([row.file for row in whole_rows("-", columns=sys.argv[1:], labelled=False)])
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("given", "columns", "expected"),
    [
        ("one\n", ["text"], "['standard input']"),
        ("Send the picture,text,or mail\n", ["text"], "['standard input']"),
        ('{"text": "a"}\n[]\n', ["text"], "standard input:2: a list, not an object; correct or"),
        ('{"a": "a"}\n', ["text"], "standard input: no row has the column text; the first row"),
        ("", ["text"], "[]"),
        ("one\n", ["a", "b"], "standard input: plain text has one column, expected a, b"),
        ('id,"text"\n1,one\n', ["text"], "standard input looks like CSV or TSV: its first line"),
        ("text\tid\none\t1\n", ["text"], "standard input looks like CSV or TSV: its first line"),
        ("Context, and text.\n", ["text"], "['standard input']"),
    ],
)
def test_standard_input_is_called_so_and_is_no_table(given, columns, expected):
    command = [sys.executable, "-c", READ_WHOLE, *columns]
    found = subprocess.run(command, input=given.encode(), capture_output=True, check=True)
    assert found.stdout.decode().startswith(expected)


def test_a_text_file_has_one_column(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b'\xef\xbb\xbf{"not": "json"}\r\n\xff\n')
    rows = [row.values for row in read_rows(path, columns=["sentence"], problems=Problems())]
    assert rows == [{"sentence": '{"not": "json"}'}, {"sentence": "�"}]
    with pytest.raises(UserError, match="plain text has one column, expected a, b: give a table"):
        list(read_rows(path, columns=["a", "b"], problems=Problems()))


def test_a_file_is_replaced_as_a_whole_and_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old\n")
    link.symlink_to(target)
    write_whole(link, ["new"])
    assert link.is_symlink()
    assert target.read_text() == "new\n"

    def broken():
        yield "half"
        raise UserError("stopped")

    with pytest.raises(UserError, match="stopped"):
        write_whole(target, broken())
    assert target.read_text() == "new\n"
    assert {path.name for path in tmp_path.iterdir()} == {"target", "link"}


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    write_whole(pipe, ["one", "two"])
    reader.join(timeout=10)
    assert found == ["one\ntwo\n"]
    assert pipe.is_fifo()


def test_a_minus_and_what_standard_output_leads_to_are_standard_output(tmp_path):
    assert out_file(None, "a.csv") is None
    assert out_file("-", "a.csv") is None
    assert out_file("b.jsonl", "a.csv") == Path("b.jsonl")
    ask = "from jaxbert.cli.output import out_file; print(out_file('/dev/stdout', '-'))"
    file = tmp_path / "out"
    with file.open("w") as out:
        subprocess.run([sys.executable, "-c", ask], stdout=out, check=True)
    assert file.read_text() == "None\n"


def test_the_file_that_is_read_is_not_written_over(tmp_path, monkeypatch):
    data, link = tmp_path / "a.csv", tmp_path / "b.csv"
    data.write_text("text\n")
    link.symlink_to(data)
    monkeypatch.chdir(tmp_path)
    for out in ("a.csv", str(data), str(link)):
        for read in ("a.csv", "*.csv"):
            with pytest.raises(UserError, match="is a file that --data reads: choose another"):
                out_file(out, read)
    assert out_file("c.csv", "*.csv") == Path("c.csv")
    with pytest.raises(UserError, match="--data reads"):
        check_is_not_read(data, str(link))
