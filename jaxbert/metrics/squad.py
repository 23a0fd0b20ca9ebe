"""SQuAD's scores, digit by digit those of evaluate-v1.1.py and evaluate-v2.0.py."""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Iterable[str]) -> float:
    """1.0 where the normalised prediction is one of the normalised answers."""
    return float(normalized(prediction) in {normalized(answer) for answer in answers})


def word_f1(prediction: str, answers: Iterable[str]) -> float:
    """F1 of the bags of normalised words, the best over the answers; 0.0 where none is shared."""
    found = normalized(prediction).split()
    return max(_bag_f1(found, normalized(answer).split()) for answer in answers)


def _bag_f1(found: list[str], wanted: list[str]) -> float:
    same = sum((Counter(found) & Counter(wanted)).values())
    if same == 0:
        return 0.0
    # The formula as the scripts have it: 2 * same / (both lengths) differs in the last digit.
    precision, recall = same / len(found), same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def squad_scores(
    predictions: Sequence[str | None], answers: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`exact_match` and `f1` in percent, as evaluate-v1.1.py; None, no prediction, counts 0."""
    pairs = list(zip(predictions, answers, strict=True))
    given = [(found, wanted) for found, wanted in pairs if found is not None]
    return {
        "exact_match": _percent((exact_match(*pair) for pair in given), len(pairs)),
        "f1": _percent((word_f1(*pair) for pair in given), len(pairs)),
    }


def squad_v2_scores(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    best: Sequence[str],
    no_answer: Sequence[float],
) -> dict[str, float]:
    """Scores in percent under the names of evaluate-v2.0.py.

    Of `predictions`, where "" is the right one of a question without answers; and what `best`, the
    answers if one must be given, would have with "" wherever `no_answer` exceeds the best
    threshold.
    """
    has_answer = np.array([bool(wanted) for wanted in answers], bool)
    exact, f1 = _v2_arrays(predictions, answers)
    scores = {"exact": _percent(exact, len(exact)), "f1": _percent(f1, len(f1))}
    for name, chosen in (("HasAns", has_answer), ("NoAns", ~has_answer)):
        if chosen.any():
            scores[f"{name}_exact"] = _percent(exact[chosen], int(chosen.sum()))
            scores[f"{name}_f1"] = _percent(f1[chosen], int(chosen.sum()))
    gives_answer = np.array([bool(text) for text in best], bool)
    for name, values in zip(("exact", "f1"), _v2_arrays(best, answers), strict=True):
        score, threshold = best_threshold(values, has_answer, gives_answer, np.array(no_answer))
        scores |= {f"best_{name}": score, f"best_{name}_thresh": threshold}
    return scores


def _v2_arrays(
    predictions: Sequence[str], answers: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of every question. Answers that normalise to nothing are no answers."""
    wanted = [[text for text in texts if normalized(text)] for texts in answers]
    exact = [exact_match(found, w or [""]) for found, w in zip(predictions, wanted, strict=True)]
    # Without answers both scores say whether the prediction has no words either.
    f1 = [
        word_f1(found, texts) if texts else same
        for found, texts, same in zip(predictions, wanted, exact, strict=True)
    ]
    return np.array(exact), np.array(f1)


def best_threshold(
    scores: np.ndarray, has_answer: np.ndarray, gives_answer: np.ndarray, no_answer: np.ndarray
) -> tuple[float, float]:
    """The best score in percent, and the largest `no_answer` at which answers are given for it.

    All arrays are [questions]; `find_best_thresh` of evaluate-v2.0.py. Where giving no answer at
    all is best, the threshold is just below the least `no_answer` (the script's is 0.0, as it
    takes probabilities).
    """
    order = np.argsort(no_answer, kind="stable")
    gains = np.where(has_answer, scores, np.where(gives_answer, -1.0, 0.0))[order]
    # A running sum adds in the script's order, so that the last digit is its own.
    reached = np.cumsum(np.concatenate([[float((~has_answer).sum())], gains]))
    place = int(reached.argmax())
    thresholds = np.concatenate([[np.nextafter(no_answer.min(), -np.inf)], no_answer[order]])
    return 100.0 * float(reached[place]) / len(scores), float(thresholds[place])


def _percent(values: Iterable[float], number: int) -> float:
    """Mean of `number` in percent, added one by one: the last digit depends on it."""
    total = 0.0
    for value in values:
        total += float(value)
    return 100.0 * total / number
