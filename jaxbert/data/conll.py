"""A word a line in columns, as CoNLL's shared tasks and Universal Dependencies write them."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from jaxbert.data.lines import read_lines
from jaxbert.data.problems import Problems
from jaxbert.data.whole_lines import whole_lines
from jaxbert.errors import UserError, nearest

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

Column = str | int | None
_BLANKS = " \t"
_SPACES = re.compile(r"[ \t]+")
_LOOKED_AT = 1000
_INDEX = re.compile(r"-?[0-9]+")


class TaggedWord(NamedTuple):
    """A word, its tag ("" where none is read) and its line."""

    word: str
    tag: str
    line: int


Lines = Iterator[TaggedWord | None]
"""None: here a sentence ends."""


def read_columns(file: Path, words: Column, tags: Column, *, labelled: bool) -> Lines:
    """Columns between tabs, or else blanks, by their numbers: words 0, tags -1 where None.

    Lines of nothing but blanks end a sentence; -DOCSTART- and `# id` lines are none of it.
    """
    word_column = _index(words, 0, "words")
    tag_column = _index(tags, -1, "label") if labelled else None
    width = 0
    for number, line in whole_lines(file, labelled=labelled):
        if not line.strip(_BLANKS) or line.startswith(("-DOCSTART-", "# id ")):
            yield None
            continue
        fields = line.split("\t") if "\t" in line else _SPACES.split(line.strip(" "))
        width = width or _checked_width(fields, word_column, tag_column, f"{file}:{number}")
        if len(fields) != width:
            raise UserError(
                f"{file}:{number}: {len(fields)} columns, but {width} before; expected a word and "
                "its tags a line: correct the line (texts that are to be split: name a table with "
                'a column "text", or set task.format=text)'
            )
        tag = "" if tag_column is None else _tag(fields[tag_column].strip(), file, number)
        yield TaggedWord(fields[word_column].strip(_BLANKS), tag, number)


def read_conllu(file: Path, words: Column, tags: Column, *, labelled: bool) -> Lines:
    """CoNLL-U, columns by their names: words `form`, tags `upos` where None.

    Ranges (3-4, a word as it is written, whose parts follow) and empty nodes (5.1) are left out.
    """
    word_column, tag_column = _named(words, "form", "words"), _named(tags, "upos", "label")
    for number, line in whole_lines(file, labelled=labelled):
        if not line.strip():
            yield None
            continue
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != len(CONLLU):
            raise UserError(
                f"{file}:{number}: {len(fields)} columns, expected the {len(CONLLU)} of CoNLL-U "
                "between tabs; correct the line, or set task.format=conll"
            )
        if "-" in fields[0] or "." in fields[0]:
            continue
        tag = fields[tag_column]
        # An underscore is CoNLL-U's for nothing.
        tag = _tag("" if tag == "_" else tag, file, number) if labelled else ""
        yield TaggedWord(fields[word_column], tag, number)


def has_columns(file: Path) -> bool:
    """Whether a text file is likely to have columns: a tab in its first line, or sentences apart
    and as many fields in every one of the first thousand lines.
    """
    lines = [line for _, line in islice(read_lines(file, Problems()), _LOOKED_AT)]
    filled = [line for line in lines if line.strip(_BLANKS)]
    if not filled or "\t" in filled[0] or filled[0].startswith("-DOCSTART-"):
        return bool(filled)
    widths = {len(line.split()) for line in filled}
    return len(filled) < len(lines) and len(filled) > 1 and len(widths) == 1


def _index(column: Column, usual: int, key: str) -> int:
    if column is None:
        return usual
    if _INDEX.fullmatch(str(column)) is None:
        raise UserError(
            f"columns.{key}={column!r}: the columns of a CoNLL file have numbers, from 0; -1 is "
            "the last one"
        )
    return int(column)


def _named(column: Column, usual: str, key: str) -> int:
    name = usual if column is None else str(column).lower()
    if name not in CONLLU:
        hint = nearest(name, list(CONLLU))
        raise UserError(f"columns.{key}={column!r} is no column of CoNLL-U: {hint}")
    return CONLLU.index(name)


def _checked_width(fields: list[str], word_column: int, tag_column: int | None, where: str) -> int:
    width = len(fields)
    asked = {"words": word_column} | ({} if tag_column is None else {"label": tag_column})
    for key, column in asked.items():
        if not -width <= column < width:
            raise UserError(f"{where}: columns.{key}={column}, but the file has {width} columns")
    if tag_column is not None and word_column % width == tag_column % width:
        raise UserError(
            f"{where}: words and tags are both in column {word_column % width} of {width}; "
            "expected tags beside the words (columns.label)"
        )
    return width


def _tag(tag: str, file: Path, number: int) -> str:
    if not tag:
        raise UserError(f"{file}:{number}: the word has no tag; correct the line")
    return tag
