"""Retrieval tests in BEIR's files, and what is refused of them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxbert.data.beir import read_retrieval_test
from jaxbert.errors import UserError

CORPUS = [
    {"_id": "d1", "title": "Moon", "text": "It is far."},
    {"_id": "d2", "text": "No title."},
    {"_id": 3, "title": "", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "How far?"}, {"_id": "q2", "text": "x", "metadata": {}}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq1\tgone\t1\n"


def written(folder: Path, corpus: list[Any] = CORPUS, queries: list[Any] = QUERIES) -> Path:
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text(QRELS)
    return folder


def test_documents_have_their_titles_and_queries_are_those_that_are_judged(tmp_path: Path):
    test = read_retrieval_test(written(tmp_path))
    assert test.ids == ("d1", "d2", "3")
    assert list(test.documents()) == ["Moon It is far.", "No title.", ""]
    assert test.queries == {"q1": "How far?"}
    assert test.grades == {"q1": {"d1": 2, "gone": 1}}


def test_a_corpus_in_parquet_has_its_titles_too(tmp_path: Path):
    written(tmp_path)
    (tmp_path / "corpus.jsonl").unlink()
    table = pa.Table.from_pylist([{"_id": "a", "title": "T", "text": "b", "more": 1}])
    pq.write_table(table, tmp_path / "corpus.parquet")
    assert list(read_retrieval_test(tmp_path).documents()) == ["T b"]


def test_what_is_wrong_with_the_files_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="expected a directory with corpus"):
        read_retrieval_test(tmp_path / "none")
    folder = written(tmp_path, [*CORPUS, {"_id": "d1", "text": ""}])
    with pytest.raises(UserError, match=r"corpus\.jsonl:4: _id='d1' stands at .*corpus\.jsonl:1"):
        _ = read_retrieval_test(folder).ids
    with pytest.raises(UserError, match=r"qrels/dev\.tsv: no such file; splits .*: test"):
        read_retrieval_test(folder, "dev")
    qrels = folder / "qrels" / "test.tsv"
    for line, message in (
        ("q1\td1\t1", r"test\.tsv:5: 'q1' and 'd1' have another score before: keep one"),
        ("q9\td1\t1", r"test\.tsv:5: query-id='q9' is not in .*queries\.jsonl"),
        ("q1\td1\thigh", r"test\.tsv:5: score='high': expected a whole number"),
    ):
        qrels.write_text(f"{QRELS}{line}\n")
        with pytest.raises(UserError, match=message):
            read_retrieval_test(folder)
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\td1\t0\n")
    with pytest.raises(UserError, match="no document is relevant"):
        read_retrieval_test(folder)
    qrels.write_text(QRELS)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d 1", "text": ""}) + "\n")
    with pytest.raises(UserError, match=r"corpus\.jsonl:1: _id='d 1': rankings are written with"):
        _ = read_retrieval_test(folder).ids
    (folder / "corpus.csv").write_text("_id,text\n")
    with pytest.raises(UserError, match=r"one table corpus\.jsonl, found corpus\.csv, corpus"):
        read_retrieval_test(folder)
