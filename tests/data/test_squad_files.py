"""Questions in every form that people have, and one line for what is wrong with one."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from jaxbert.data.squad import Answer, QuestionColumns, read_questions
from jaxbert.errors import UserError

CONTEXT = 'The "old" tree — 猫 — stands here.'
ENTRIES: list[dict[str, Any]] = [
    {"id": "a", "question": "What?", "answers": [{"text": "tree", "answer_start": 10}]},
    {
        "id": "b",
        "question": "Who?",
        "answers": [{"text": "猫", "answer_start": 17}, {"text": "— 猫", "answer_start": 15}],
    },
    {"id": "c", "question": "Where?", "answers": [], "is_impossible": True},
]
COLUMNS = QuestionColumns()


def document(entries: list[Any] = ENTRIES, context: Any = CONTEXT) -> dict[str, Any]:
    paragraphs = [{"context": context, "qas": entries}]
    return {"version": "v2.0", "data": [{"title": "Tree", "paragraphs": paragraphs}]}


def rows() -> list[dict[str, Any]]:
    """As the hub's data sets have them."""
    return [
        {
            "id": entry["id"],
            "title": "Tree",
            "context": CONTEXT,
            "question": entry["question"],
            "answers": {
                "text": [answer["text"] for answer in entry["answers"]],
                "answer_start": [answer["answer_start"] for answer in entry["answers"]],
            },
        }
        for entry in ENTRIES
    ]


def write(path: Path, text: str, **options: Any) -> Path:
    path.write_text(text, encoding="utf-8", **options)
    return path


def questions(path: Path, columns: QuestionColumns = COLUMNS, labelled: bool = True):
    return list(read_questions(str(path), columns, labelled=labelled))


def assert_all_there(path: Path, columns: QuestionColumns = COLUMNS) -> None:
    found = questions(path, columns)
    assert [(q.id, q.question) for q in found] == [("a", "What?"), ("b", "Who?"), ("c", "Where?")]
    assert {q.context for q in found} == {CONTEXT}
    expected = ((Answer("tree", 10),), (Answer("猫", 17), Answer("— 猫", 15)), ())
    assert tuple(q.answers for q in found) == expected
    assert [q.answers for q in questions(path, columns, labelled=False)] == [None] * 3


def test_squads_own_json_in_one_line_indented_compressed_and_from_windows(tmp_path: Path):
    text = json.dumps(document())
    assert_all_there(write(tmp_path / "dev-v2.0.json", text))
    indented = json.dumps(document(), indent=1, ensure_ascii=False)
    assert_all_there(write(tmp_path / "indented.json", "\ufeff" + indented, newline="\r\n"))
    (tmp_path / "train.json.gz").write_bytes(gzip.compress(text.encode()))
    assert_all_there(tmp_path / "train.json.gz")


def test_tables_of_every_kind(tmp_path: Path):
    lines = [json.dumps(row) for row in rows()]
    assert_all_there(write(tmp_path / "dev.jsonl", "\n".join(lines)))
    assert_all_there(write(tmp_path / "lines.json", "\n" + "\n".join(lines)))
    assert_all_there(write(tmp_path / "run_qa.json", json.dumps({"data": rows()})))
    parquet.write_table(pyarrow.Table.from_pylist(rows()), tmp_path / "dev.parquet")
    assert_all_there(tmp_path / "dev.parquet")
    fields = [[r["id"], r["question"], CONTEXT, json.dumps(r["answers"])] for r in rows()]
    quoted = [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in fields]
    assert_all_there(
        write(tmp_path / "dev.csv", "\n".join(["id,question,context,answers", *quoted]))
    )


def test_the_files_of_a_pattern_are_one_after_another(tmp_path: Path):
    for number, entry in enumerate(ENTRIES):
        write(tmp_path / f"squad-{number}.json", json.dumps(document([entry])))
        write(tmp_path / f"table-{number}.json", json.dumps(rows()[number]))
    assert_all_there(tmp_path / "squad-*.json")
    assert_all_there(tmp_path / "table-*.json")
    write(tmp_path / "squad-3.json", json.dumps(document([ENTRIES[0]])))
    with pytest.raises(UserError, match=r"squad-3\.json: question 'a': this id occurs twice"):
        questions(tmp_path / "squad-*.json")


@pytest.mark.parametrize("id_", [None, "id"])
def test_questions_without_ids_in_several_files_are_called_by_file_and_line(tmp_path: Path, id_):
    row = {"question": "Who?", "context": "A cat."}
    for number in range(2):
        write(tmp_path / f"a{number}.jsonl", 2 * f"{json.dumps(row | {'id': f'q{number}'})}\n")
        write(tmp_path / f"b{number}.json", json.dumps({"data": [row, row]}))
    columns = QuestionColumns(id=id_)
    if id_ is None:
        found = questions(tmp_path / "a*.jsonl", columns, labelled=False)
        names = [f"{tmp_path}/a{number}.jsonl:{line}" for number in range(2) for line in (1, 2)]
        assert [question.id for question in found] == names
    found = questions(tmp_path / "b*.json", columns, labelled=False)
    names = [f"{tmp_path}/b{number}.json: data[{row}]" for number in range(2) for row in range(2)]
    assert [question.id for question in found] == names


def test_other_columns_and_questions_without_names(tmp_path: Path):
    table = write(tmp_path / "mine.tsv", "Q\tT\tmore\nWho?\tA cat.\t1\nWhat?\t\t2\n")
    columns = QuestionColumns(id=None, question="Q", context="T")
    found = questions(table, columns, labelled=False)
    assert [(q.id, q.question, q.context) for q in found] == [
        ("2", "Who?", "A cat."),
        ("3", "What?", ""),
    ]


def with_answer(**values: Any) -> dict[str, Any]:
    return document([ENTRIES[0] | {"answers": [{"text": "tree", "answer_start": 10} | values]}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_answer(answer_start=9), r"question 'a': answer 'tree': .* ' tre' .* stands at 10"),
        (with_answer(text="bush"), r"question 'a': answer 'bush': .* it is not in it"),
        (with_answer(answer_start="10"), r"question 'a': answer_start is '10'"),
        (with_answer(answer_start=-1), r"question 'a': answer_start is -1"),
        (with_answer(text=" "), r"question 'a': an answer is empty"),
        (with_answer(text=None), r"question 'a': answer is null, expected text"),
        (document([ENTRIES[0], ENTRIES[0]]), r"question 'a': this id occurs twice"),
        (document([{"id": "z", "question": "What?"}]), r"question 'z': answers: missing"),
        (document([ENTRIES[0] | {"answers": ["tree"]}]), r"question 'a': answer: .* 'text'"),
        (document([ENTRIES[0] | {"is_impossible": True}]), r"question 'a': is_impossible, but"),
        (document([ENTRIES[0] | {"question": 7}]), r"question 'a': question is int"),
        (document([ENTRIES[0] | {"id": None}]), r"data\[0\].paragraphs\[0\].qas\[0\]: id is None"),
        (document([{"id": "a"}]), r"qas\[0\]: expected an object with 'question', found: id"),
        (document(ENTRIES, None), r"paragraphs\[0\]: context is null"),
        (document(ENTRIES, "half \ud83d"), r"context holds half of a surrogate pair"),
        ({"data": [{"paragraphs": [{"context": ""}]}]}, r"paragraphs\[0\]: qas is missing"),
        ({"data": [{"paragraphs": 3}]}, r"data\[0\]: paragraphs is int, expected a list"),
        ({"data": ["text"]}, r"data\[0\]: expected an object with 'question', found: str"),
        ({"data": []}, r"no questions"),
    ],
)
def test_what_is_malformed_is_named_with_file_and_question(tmp_path: Path, content, message):
    path = write(tmp_path / "broken.json", json.dumps(content))
    with pytest.raises(UserError, match=r"broken\.json: .*" + message):
        questions(path)


def test_what_follows_the_document_is_refused_and_not_left_out(tmp_path: Path):
    text = json.dumps(document()) + "\n \n"
    assert_all_there(write(tmp_path / "blank.json", text))
    path = write(tmp_path / "two.json", text + json.dumps(document()))
    with pytest.raises(UserError, match=r"two\.json:3: goes on after SQuAD's JSON, of which"):
        questions(path)


def test_rows_of_tables_are_named_with_their_line(tmp_path: Path):
    path = write(tmp_path / "t.jsonl", "\n".join(json.dumps(row) for row in [*rows(), rows()[0]]))
    with pytest.raises(UserError, match=r"t\.jsonl:4: question 'a': this id occurs twice"):
        questions(path)
    table = write(tmp_path / "t.tsv", "id\tquestion\tcontext\tanswers\n1\tWho?\tA cat.\ta cat\n")
    with pytest.raises(UserError, match=r"t\.tsv:2: question '1': answers: 'a cat' is no JSON"):
        questions(table)
    (found,) = questions(table, labelled=False)
    assert found.id == "1"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cut.json", '{"data": [\n{"paragraphs"', "not valid JSON"),
        ("array.json", "[\n{}\n]", "holds one JSON array"),
        ("table.json", '{"question": "Who?"}', "no row has the column"),
        ("table.tsv", "question\tcontext\nWho?\tA cat.\n", "no column id, answers"),
        ("dev.xml", "<a/>", "not a table"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, name, text, message):
    with pytest.raises(UserError, match=message):
        questions(write(tmp_path / name, text))
    with pytest.raises(UserError, match=r"no such file; did you mean .*" + name):
        questions(tmp_path / name.replace(".", "_."))


@pytest.mark.parametrize("indent", [None, 1])
def test_questions_in_another_encoding_are_refused_or_warned_of(tmp_path, caplog, indent):
    entries = [{"id": "a", "question": "Who?", "answers": []}]
    text = json.dumps(document(entries, "A café."), indent=indent, ensure_ascii=False)
    file = tmp_path / "a.json"
    file.write_bytes(text.encode("cp1252"))
    with pytest.raises(UserError, match=r"a.json:\d+: not UTF-8; convert the file"):
        list(read_questions(str(file), COLUMNS, labelled=True))
    [question] = read_questions(str(file), COLUMNS, labelled=False)
    assert question.context == "A caf\ufffd."
    assert ["invalid UTF-8 in 1 lines" in text for text in caplog.messages] == [True]
