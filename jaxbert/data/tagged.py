"""Sentences whose words have tags: CoNLL columns, CoNLL-U, tables of word and tag lists, texts."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from jaxbert.data.conll import Lines, has_columns, read_columns, read_conllu
from jaxbert.data.tables import (
    DATA_SETS,
    STANDARD_INPUT,
    Row,
    column_names,
    file_kind,
    is_table,
    table_file,
    whole_rows,
)
from jaxbert.data.whole_lines import check_is_not_empty, whole_lines
from jaxbert.data.words import Place, split_words
from jaxbert.errors import UserError, kind_of

Format = Literal["auto", "conll", "conllu", "table", "text"]

_WORDS, _TAGS, _TEXT = "tokens", "ner_tags", "text"


@dataclass(frozen=True)
class TagColumns:
    """Where words and tags are; null: where the format usually has them."""

    words: str | int | None = None
    """CoNLL: number of the column, from 0 (0); CoNLL-U: its name (form); table: name (tokens)."""
    label: str | int | None = None
    """CoNLL: -1, the last one; CoNLL-U: upos, or xpos, deprel, ...; table: ner_tags."""
    text: str | None = None
    """Column of a table whose texts are to be split into words, for prediction; null: `text`,
    where there is no column of words."""

    @property
    def of_words(self) -> str:
        """The column of words of a table."""
        return str(_WORDS if self.words is None else self.words)

    @property
    def of_text(self) -> str:
        """The column of texts of a table."""
        return _TEXT if self.text is None else self.text

    @property
    def inputs(self) -> tuple[str, ...]:
        """What prediction reads of texts that are no file."""
        return (self.of_text,)

    def has_words(self, values: Container[str]) -> bool:
        """Whether words are read of a row with these columns, and not its text."""
        return self.text is None and self.of_words in values


@dataclass(frozen=True)
class TaggedSentence:
    """The words of a sentence and where they come from."""

    words: tuple[str, ...]
    tags: tuple[str | int, ...] | None
    """A tag a word, by name or number; None where they were not asked for."""
    file: str
    lines: Sequence[int]
    """The line or row of every word."""
    text: str | None = None
    """The text that the words were split from."""
    places: tuple[Place, ...] = ()
    """Where each word is in `text`."""

    def where(self, word: int) -> str:
        """File and line of a word, for a message."""
        return f"{self.file}:{self.lines[word]}"


def read_tagged(
    spec: str, columns: TagColumns, form: Format = "auto", *, labelled: bool
) -> Iterator[TaggedSentence]:
    """Sentences as they come; anything malformed is a UserError, so that every word counts.

    auto: a data set or a .jsonl, .json, .parquet or .csv file is a table, .conllu is CoNLL-U, and
    all other files have CoNLL's columns, one word a line. Without labels standard input and a .txt
    file that has no columns hold texts.
    """
    if form == "auto":
        form = _format(spec, labelled=labelled)
    if form == "text" and labelled:
        raise UserError(f"{spec}: task.format=text has no tags; expected conll, conllu or table")
    if form == "table":
        return _from_table(spec, columns, labelled=labelled)
    file = table_file(spec)
    if form == "text":
        return (_split(line, spec, number) for number, line in whole_lines(file, labelled=False))
    read = read_conllu if form == "conllu" else read_columns
    lines = read(file, columns.words, columns.label, labelled=labelled)
    return _sentences(lines, spec, labelled=labelled)


def _format(spec: str, *, labelled: bool) -> Format:
    if spec.startswith(DATA_SETS) or spec == STANDARD_INPUT:
        return "table"
    kind = file_kind(Path(spec))
    if kind == ".conllu":
        return "conllu"
    if kind == ".txt" and not labelled:
        return "conll" if has_columns(table_file(spec)) else "text"
    # Words and tags between tabs are a common form of CoNLL's columns.
    return "table" if is_table(spec) and kind != ".tsv" else "conll"


def _sentences(lines: Lines, file: str, *, labelled: bool) -> Iterator[TaggedSentence]:
    count = 0
    for is_word, group in groupby(lines, key=lambda line: line is not None):
        if is_word:
            count += 1
            words, tags, numbers = zip(*filter(None, group), strict=True)
            yield TaggedSentence(words, tags if labelled else None, file, numbers)
    check_is_not_empty(count, "sentences", file, labelled=labelled)


def _from_table(spec: str, columns: TagColumns, *, labelled: bool) -> Iterator[TaggedSentence]:
    words = columns.of_words
    if labelled:
        tags = str(_TAGS if columns.label is None else columns.label)
        for row in whole_rows(spec, columns=[words, tags], labelled=True):
            found = _list(row, words, "words")
            yield _checked(row, found, _list(row, tags, "tags"), tags)
        return
    if spec == STANDARD_INPUT:
        # It can be read but once: each row says whether it has words or a text.
        rows = whole_rows(spec, columns=(), names=[columns.of_text], labelled=False)
    else:
        column = words if columns.has_words(column_names(spec)) else columns.of_text
        rows = whole_rows(spec, columns=[column], labelled=False)
    for row in rows:
        yield untagged(row, columns)


def untagged(row: Row, columns: TagColumns) -> TaggedSentence:
    """The words of a row, or those of its text where it has no list of words."""
    words, text = columns.of_words, columns.of_text
    if columns.has_words(row.values):
        return _checked(row, _list(row, words, "words"), None, words)
    if text not in row.values:
        wanted = f"no {text!r}" if columns.text else f"neither {words!r} nor {text!r}"
        raise UserError(
            f"{row.place}: {wanted} among {', '.join(row.values)}; name what to read "
            "(task.columns.words or task.columns.text)"
        )
    value = row.values[text]
    if not isinstance(value, str):
        raise UserError(_not_a(row, text, "a text"))
    return _split(value, row.file, row.line)


def _list(row: Row, column: str, what: str) -> list[Any]:
    value = row.values[column]
    if not isinstance(value, list | tuple):
        raise UserError(_not_a(row, column, f"a list of {what}"))
    return list(value)


def _not_a(row: Row, column: str, expected: str) -> str:
    found = kind_of(row.values[column])
    return (
        f"{row.place}: {column!r} is {found}, expected {expected}; correct or remove the "
        "row, or name another column"
    )


def _checked(row: Row, words: list[Any], tags: list[Any] | None, column: str) -> TaggedSentence:
    where = row.place
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"{where}: a word is {word!r}, expected text; correct the row")
    if tags is not None:
        if len(tags) != len(words):
            raise UserError(
                f"{where}: {len(words)} words and {len(tags)} of {column!r}; correct the row"
            )
        for tag in tags:
            if isinstance(tag, bool) or not isinstance(tag, str | int) or tag == "":
                raise UserError(
                    f"{where}: a tag is {tag!r}, expected its name or number; correct the row"
                )
    found = None if tags is None else tuple(tags)
    return TaggedSentence(tuple(words), found, row.file, (row.line,) * len(words))


def _split(text: str, file: str, line: int) -> TaggedSentence:
    places = split_words(text)
    words = tuple(text[start:stop] for start, stop in places)
    return TaggedSentence(words, None, file, (line,) * len(words), text, places)
