"""How well questions of each kind are answered, and which worst."""

from collections.abc import Iterable

import numpy as np

from jaxbert.data.squad import Question
from jaxbert.metrics.squad import exact_match, word_f1
from jaxbert.tasks.tables import Cell, Table, mistakes

_ASKING = ("what", "who", "when", "where", "which", "why", "how many", "how much", "how")


def question_tables(answered: Iterable[tuple[Question, str]]) -> tuple[Table, ...]:
    """For labelled questions and the answers given, "" for none."""
    found = [(question, given, *_scores(question, given)) for question, given in answered]
    by_word: dict[str, list[tuple[float, float]]] = {}
    for question, _, exact, f1 in found:
        by_word.setdefault(_asks_for(question), []).append((exact, f1))
    rows: list[tuple[Cell, ...]] = []
    for word, scores in sorted(by_word.items(), key=lambda item: -len(item[1])):
        exact, f1 = (100 * float(mean) for mean in np.mean(scores, axis=0))
        rows.append((word, len(scores), exact, f1))
    wrong = (
        (question.place, question.question, _wanted(question), given, f1)
        for question, given, _, f1 in sorted(found, key=lambda each: each[3])
        if f1 < 1
    )
    columns = ("place", "question", "expected", "given", "F1")
    return (
        Table("Questions", ("ask for", "questions", "exact match", "F1"), tuple(rows)),
        mistakes(columns, wrong),
    )


def _asks_for(question: Question) -> str:
    """The first of the words, in their order, that the question has."""
    words = f" {question.question.lower()} "
    return next((word for word in _ASKING if f" {word} " in words), "other")


def _wanted(question: Question) -> str:
    return question.answers[0].text if question.answers else ""


def _scores(question: Question, given: str) -> tuple[float, float]:
    """Exact match and F1, 0 to 1; without an answer "" is right."""
    answers = [answer.text for answer in question.answers or ()]
    if not answers:
        return float(not given), float(not given)
    return exact_match(given, answers), word_f1(given, answers)
