"""Questions about texts, with their answers: SQuAD's JSON of v1.1 and v2, and tables."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.data.tables import (
    DATA_SETS,
    Row,
    existing_file,
    file_kind,
    is_pattern,
    matching,
    whole_rows,
)
from jaxbert.data.whole_lines import check_is_not_empty, whole_lines
from jaxbert.errors import UserError, kind_of

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class QuestionColumns:
    """Which columns of a table hold what; files in SQuAD's own form need none of it."""

    id: str | None = "id"
    """null: questions are called by their line, of a pattern's files by file and line."""
    question: str = "question"
    """Column of the question."""
    context: str = "context"
    """Column of the text that the answer is in."""
    answers: str = "answers"
    """{text: [...], answer_start: [...]} or a list of {text, answer_start}; JSON in CSV and TSV."""
    names: tuple[str, ...] | None = None
    """Column names of a CSV or TSV file that has no header."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What prediction reads."""
        return self.question, self.context


@dataclass(frozen=True)
class Answer:
    """What stands in the context from character `start` on."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question about a context; no answers: it has none there."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None
    """None: nobody says."""
    place: str
    """Where it stands, for messages: file, line where there are lines, and id."""


def read_questions(spec: str, columns: QuestionColumns, *, labelled: bool) -> Iterator[Question]:
    """Questions as they come, from SQuAD's JSON (also compressed) or whatever is a table.

    Of a pattern those of its files, one after another in sorted order.

    `answers` are read if `labelled`. Raises UserError with file and question for a malformed one,
    an answer that does not stand where it should, and an id that occurs twice.
    """
    parts = [str(path) for path in matching(spec)] if is_pattern(spec) else [spec]
    documents = {part: _squad_document(part, labelled=labelled) for part in parts}
    is_table = None in documents.values()
    if is_table:
        found = _of_table(spec, columns, labelled)
    else:
        found = (
            question
            for part, data in documents.items()
            for question in _of_document(data or [], part, columns, labelled, not is_pattern(spec))
        )
    seen: set[str] = set()
    for question in found:
        if question.id in seen:
            raise UserError(
                f"{question.place}: this id occurs twice; give every question an id of its own"
            )
        seen.add(question.id)
        yield question
    if not is_table:
        check_is_not_empty(len(seen), "questions", spec, labelled=labelled)


def _of_table(spec: str, columns: QuestionColumns, labelled: bool) -> Iterator[Question]:
    wanted = [columns.id, columns.question, columns.context, columns.answers if labelled else None]
    names = [name for name in wanted if name is not None]
    several = is_pattern(spec)
    for row in whole_rows(spec, columns=names, names=columns.names, labelled=labelled):
        name = row.place if several else row.line
        yield _of_values(row.values, row.place, name, columns, labelled)


def question_of(row: Row, columns: QuestionColumns, *, labelled: bool) -> Question:
    """What a row of a table asks; UserError where it is malformed."""
    return _of_values(row.values, row.place, row.line, columns, labelled)


def _of_values(
    values: dict[str, Any], where: str, name: int | str, columns: QuestionColumns, labelled: bool
) -> Question:
    identity = _identity(name if columns.id is None else values.get(columns.id, name), where)
    place = f"{where}: question {identity!r}"
    context = _text(values.get(columns.context), columns.context, place)
    return Question(
        identity,
        _text(values.get(columns.question), columns.question, place),
        context,
        _answers(values.get(columns.answers), context, place) if labelled else None,
        place,
    )


def _squad_document(spec: str, *, labelled: bool) -> list[Any] | None:
    """What `data` of SQuAD's JSON holds; None for a table, JSON lines among them."""
    path = Path(expanduser(spec))
    if spec.startswith(DATA_SETS) or file_kind(path) != ".json":
        return None
    found = whole_lines(existing_file(path), labelled=labelled)
    lines = ((number, line) for number, line in found if line.strip())
    _, first = next(lines, (0, ""))
    try:
        content = json.loads(first)
    except (ValueError, RecursionError):
        # A first line that is no object of its own is the beginning of an indented document.
        content = _parsed("\n".join([first, *(line for _, line in lines)]), spec)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list):
        return None
    # To the end, which warns of what was replaced.
    for number, _ in lines:
        raise UserError(
            f"{spec}:{number}: goes on after SQuAD's JSON, of which a file holds one; put each "
            "into a file of its own, or all articles into one `data`"
        )
    return data


def _parsed(text: str, spec: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{spec}: not valid JSON ({error}); expected SQuAD's, or one object a line"
        ) from None


def _of_document(
    data: list[Any], spec: str, columns: QuestionColumns, labelled: bool, is_alone: bool
) -> Iterator[Question]:
    """Articles of paragraphs; or rows of a table, as run_qa.py of transformers has them there."""
    for number, article in enumerate(data):
        where = f"{spec}: data[{number}]"
        if not isinstance(article, dict) or "paragraphs" not in article:
            row = _object(article, where, columns.question)
            yield _of_values(row, where, number if is_alone else where, columns, labelled)
            continue
        for place, paragraph in enumerate(_list(article, "paragraphs", where)):
            inner = f"{where}.paragraphs[{place}]"
            context = _text(_object(paragraph, inner, "context")["context"], "context", inner)
            for index, entry in enumerate(_list(paragraph, "qas", inner)):
                values = _object(entry, f"{inner}.qas[{index}]", "question")
                yield _of_entry(values, context, spec, f"{inner}.qas[{index}]", labelled)


def _of_entry(
    values: dict[str, Any], context: str, spec: str, where: str, labelled: bool
) -> Question:
    identity = _identity(values.get("id"), where)
    place = f"{spec}: question {identity!r}"
    question = _text(values["question"], "question", place)
    answers = _answers(values.get("answers"), context, place) if labelled else None
    if answers and values.get("is_impossible"):
        raise UserError(f"{place}: is_impossible, but it has answers; correct or remove it")
    return Question(identity, question, context, answers, place)


def _answers(value: Any, context: str, place: str) -> tuple[Answer, ...]:
    if isinstance(value, str):
        value = _json_answers(value, place)
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            pairs = zip(texts, starts, strict=True)
            value = [{"text": text, "answer_start": start} for text, start in pairs]
    if not isinstance(value, list):
        shown = "missing" if value is None else repr(value)
        raise UserError(
            f"{place}: answers: {shown}, expected a list of {{text, answer_start}}, empty where "
            "there is none; correct or remove the question"
        )
    return tuple(_answer(item, context, place) for item in value)


def _json_answers(value: str, place: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: answers: {value!r} is no JSON ({error}); expected such as "
            '[{"text": "tree", "answer_start": 12}]'
        ) from None


def _answer(value: Any, context: str, place: str) -> Answer:
    fields = _object(value, f"{place}: answer", "text")
    text, start = _text(fields["text"], "answer", place), fields.get("answer_start")
    if not text.strip():
        raise UserError(
            f"{place}: an answer is empty; correct it, or remove it where there is none"
        )
    if not isinstance(start, int) or isinstance(start, bool) or start < 0:
        raise UserError(
            f"{place}: answer_start is {start!r}, expected the place of the answer's first "
            "character in the context, from 0 on"
        )
    found = context[start : start + len(text)]
    if found != text:
        elsewhere = context.find(text)
        hint = "it is not in it" if elsewhere < 0 else f"it stands at {elsewhere}"
        raise UserError(
            f"{place}: answer {text!r}: the context has {found!r} at answer_start={start}, and "
            f"{hint}; correct or remove the question"
        )
    return Answer(text, start)


def _identity(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(f"{where}: id is {value!r}, expected the name or number of the question")
    return str(value)


def _text(value: Any, name: str, place: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{place}: {name} is {kind_of(value)}, expected text; correct or remove it")
    if _SURROGATE.search(value):
        raise UserError(f"{place}: {name} holds half of a surrogate pair; correct or remove it")
    return value


def _list(values: dict[str, Any], name: str, where: str) -> list[Any]:
    found = values.get(name)
    if not isinstance(found, list):
        there = kind_of(found) if name in values else "missing"
        raise UserError(f"{where}: {name} is {there}, expected a list")
    return found


def _object(value: Any, where: str, key: str) -> dict[str, Any]:
    """A JSON object that has this key."""
    if not isinstance(value, dict) or key not in value:
        shown = ", ".join(value) if isinstance(value, dict) else kind_of(value)
        raise UserError(
            f"{where}: expected an object with {key!r}, found: {shown or 'an empty one'}"
        )
    return value
