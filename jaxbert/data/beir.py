"""A retrieval test in BEIR's files (Thakur et al. 2021): corpus, queries, who answers what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.data.table_files import READERS
from jaxbert.data.tables import Row, column_names, file_kind, whole_rows
from jaxbert.errors import UserError

_TITLE = "title"


@dataclass(frozen=True)
class RetrievalTest:
    """Queries, judgements, and the files of the corpus, which is read as often as asked for."""

    corpus: Path
    queries: Mapping[str, str]
    """Texts by id: those that are judged to have a relevant document."""
    grades: Mapping[str, Mapping[str, int]]
    """Of every query the documents that are relevant, by id: how much, from 1 on."""

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Of all documents, in their order. Raises UserError for one that comes twice."""
        places: dict[str, str] = {}
        for row in self._rows():
            name = _text(row, "_id")
            if name in places:
                raise UserError(f"{row.place}: _id={name!r} stands at {places[name]} already")
            places[name] = row.place
        return tuple(places)

    def documents(self) -> Iterator[str]:
        """Title and text, with a space between them, as BEIR's own models read them."""
        for row in self._rows():
            title = row.values.get(_TITLE) or ""
            yield f"{title} {_text(row, 'text')}".strip()

    def _rows(self) -> Iterator[Row]:
        columns = ["_id", "text"]
        # Of JSON lines a row may have no title.
        if file_kind(self.corpus) != ".jsonl" and _TITLE in column_names(self.corpus):
            columns.append(_TITLE)
        return whole_rows(str(self.corpus), columns=columns, labelled=True)


def read_retrieval_test(directory: str | Path, split: str = "test") -> RetrievalTest:
    """Reads `queries.*` and `qrels/SPLIT.tsv` of a directory that has `corpus.*` beside them.

    JSON lines, CSV, TSV or Parquet. Raises UserError where a file is missing or there are several,
    for a judgement of a query that is not there, and where nothing is relevant.
    """
    folder = Path(expanduser(str(directory)))
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a directory with corpus, queries and qrels/")
    corpus, file = _table(folder, "corpus"), _table(folder, "queries")
    texts: dict[str, str] = {}
    for row in whole_rows(str(file), columns=("_id", "text"), labelled=True):
        if (name := _text(row, "_id")) in texts:
            raise UserError(f"{row.place}: _id={name!r} is another query's already")
        texts[name] = _text(row, "text")
    grades: dict[str, dict[str, int]] = {}
    judged, judged_before = _judgements(folder, split), dict[tuple[str, str], int]()
    for row in whole_rows(str(judged), columns=("query-id", "corpus-id", "score"), labelled=True):
        query, document = _text(row, "query-id"), _text(row, "corpus-id")
        if query not in texts:
            raise UserError(f"{row.place}: query-id={query!r} is not in {file}")
        if judged_before.setdefault((query, document), grade := _grade(row)) != grade:
            raise UserError(
                f"{row.place}: {query!r} and {document!r} have another score before: keep one"
            )
        if grade > 0:
            grades.setdefault(query, {})[document] = grade
    if not grades:
        raise UserError(f"{judged}: no document is relevant: expected a score above 0")
    return RetrievalTest(corpus, {name: texts[name] for name in grades}, grades)


def _table(folder: Path, name: str) -> Path:
    found = sorted(path for path in folder.glob(f"{name}.*") if file_kind(path) in READERS)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{folder}: expected one table {name}.jsonl, found {names}")
    return found[0]


def _judgements(folder: Path, split: str) -> Path:
    file = folder / "qrels" / f"{split}.tsv"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("qrels/*.tsv"))) or "none"
        raise UserError(f"{file}: no such file; splits that are there: {there}")
    return file


def _text(row: Row, column: str) -> str:
    value: Any = row.values[column]
    if isinstance(value, str):
        if column != "text" and (not value or len(value.split()) != 1 or value != value.strip()):
            raise UserError(
                f"{row.place}: {column}={value!r}: rankings are written with blanks between their "
                "fields: give ids without white space"
            )
        return value
    if isinstance(value, int) and not isinstance(value, bool) and column != "text":
        # Ids of data sets that number their texts.
        return str(value)
    raise UserError(f"{row.place}: {column}={value!r}: expected a text")


def _grade(row: Row) -> int:
    value = row.values["score"]
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UserError(f"{row.place}: score={value!r}: expected a whole number") from None
