"""SQuAD's scores against the formulas of its scripts, written down a second time."""

import collections
import json
import os
import random
import re
import string
from pathlib import Path

import numpy as np
import pytest

from jaxbert.metrics.squad import best_threshold, normalized, squad_scores, squad_v2_scores

WORDS = ["the", "The", "a", "an", "AN", "Ant", "tree", "tree's", "U.S.", "$12", "straße", "İ", "—"]
MARKS = [" ", "  ", "\t", "\n", "\u00a0", "\u200b", ".", ",", "-", "'", "«", "¿", "_", ""]


def official_normal(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_f1(prediction: str, answer: str, *, v2: bool) -> float:
    found, wanted = official_normal(prediction).split(), official_normal(answer).split()
    same = sum((collections.Counter(found) & collections.Counter(wanted)).values())
    if v2 and (len(found) == 0 or len(wanted) == 0):
        return int(found == wanted)
    if same == 0:
        return 0
    precision = 1.0 * same / len(found)
    recall = 1.0 * same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def official_v1(predictions: dict[str, str], answers: dict[str, list[str]]) -> dict[str, float]:
    f1 = exact = total = 0
    for name, wanted in answers.items():
        total += 1
        if name not in predictions:
            continue
        found = predictions[name]
        exact += max(official_normal(found) == official_normal(answer) for answer in wanted)
        f1 += max(official_f1(found, answer, v2=False) for answer in wanted)
    return {"exact_match": 100.0 * exact / total, "f1": 100.0 * f1 / total}


def official_v2(predictions: list[str], answers: list[list[str]]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {"exact": [], "f1": []}
    for found, texts in zip(predictions, answers, strict=True):
        wanted = [text for text in texts if official_normal(text)] or [""]
        scores["exact"].append(
            max(int(official_normal(found) == official_normal(a)) for a in wanted)
        )
        scores["f1"].append(max(official_f1(found, a, v2=True) for a in wanted))
    return scores


def official_best(
    predictions: list[str], scores: list[float], na: list[float], answers: list[list[str]]
) -> tuple[float, float]:
    score = best = sum(1 for texts in answers if not texts)
    threshold = 0.0
    for i in sorted(range(len(na)), key=lambda i: na[i]):
        if answers[i]:
            score += scores[i]
        elif predictions[i]:
            score += -1
        if score > best:
            best, threshold = score, na[i]
    return 100.0 * best / len(scores), threshold


def text(generator: random.Random, most: int = 5) -> str:
    parts = [generator.choice(WORDS) + generator.choice(MARKS) for _ in range(most)]
    return generator.choice(MARKS) + "".join(parts[: generator.randrange(most + 1)])


def drawn(seed: int, number: int) -> tuple[list[str], list[list[str]]]:
    """Predictions that are often near one of 1 to 6 answers."""
    generator = random.Random(seed)
    answers = [[text(generator) for _ in range(generator.randint(1, 6))] for _ in range(number)]
    found = []
    for texts in answers:
        near = generator.choice(texts)
        found.append(
            generator.choice([near, near.upper(), near + text(generator, 2), text(generator)])
        )
    return found, answers


def test_texts_are_normalised_as_in_the_scripts():
    generator = random.Random(1)
    for _ in range(2000):
        found = text(generator)
        assert normalized(found) == official_normal(found)
    assert normalized("The U.S.\u00a0 a-n  Ant, an\tĐ") == "us ant đ"


@pytest.mark.parametrize("number", [1, 3, 1000])
def test_scores_are_those_of_the_script_of_v1_to_the_last_digit(number: int):
    found, answers = drawn(number, number)
    lacking = [None if i % 7 == 3 else texts for i, texts in enumerate(found)]
    given = {str(i): texts for i, texts in enumerate(lacking) if texts is not None}
    expected = official_v1(given, {str(i): texts for i, texts in enumerate(answers)})
    assert squad_scores(lacking, answers) == expected
    assert number < 1000 or (40 < expected["exact_match"] < 60 and 40 < expected["f1"] < 60)


@pytest.mark.parametrize("kinds", ["both", "answered", "unanswered"])
def test_scores_are_those_of_the_script_of_v2_to_the_last_digit(kinds: str):
    best, answers = drawn(5, 800)
    generator = random.Random(6)
    lacking = {"both": 0.4, "answered": 0.0, "unanswered": 1.0}[kinds]
    answers = [[] if generator.random() < lacking else texts for texts in answers]
    na = [generator.random() - 0.3 * bool(texts) for texts in answers]
    given = ["" if p > 0.3 else found for p, found in zip(na, best, strict=True)]
    expected = official_v2(given, answers)
    result = squad_v2_scores(given, answers, best, na)
    has = np.array([bool(texts) for texts in answers])
    for name, values in expected.items():
        assert result[name] == 100.0 * sum(values) / len(values)
        for group, chosen in (("HasAns", has), ("NoAns", ~has)):
            if not chosen.any():
                assert f"{group}_{name}" not in result
                continue
            some = [value for value, there in zip(values, chosen, strict=True) if there]
            assert result[f"{group}_{name}"] == 100.0 * sum(some) / len(some)
    for name, values in official_v2(best, answers).items():
        score, threshold = official_best(best, values, na, answers)
        assert result[f"best_{name}"] == score
        if kinds != "unanswered":
            assert result[f"best_{name}_thresh"] == threshold


def test_the_best_threshold_gives_the_score_that_it_promises():
    best, answers = drawn(8, 300)
    best = [found if normalized(found) else "word" for found in best]
    # A text that normalises to nothing would be right as an answer and as none.
    answers = [
        [t for t in texts if normalized(t)] if i % 3 else [] for i, texts in enumerate(answers)
    ]
    excess = list(np.random.default_rng(0).normal(size=300) - [bool(texts) for texts in answers])
    found = squad_v2_scores(best, answers, best, excess)
    for name in ("exact", "f1"):
        threshold = found[f"best_{name}_thresh"]
        kept = ["" if p > threshold else text for p, text in zip(excess, best, strict=True)]
        reached = squad_v2_scores(kept, answers, best, excess)[name]
        assert reached == pytest.approx(found[f"best_{name}"], abs=1e-9)
        assert reached > found[name]


def test_the_threshold_that_gives_no_answer_at_all_lies_below_every_excess():
    excess = np.array([-3.0, 2.0])
    score, threshold = best_threshold(
        np.zeros(2), np.array([True, False]), np.ones(2, bool), excess
    )
    assert score == 50.0
    assert threshold < -3.0


def test_small_scores_by_hand():
    predictions, answers = ["the Cat sat", "dog", None], [["cat"], ["a dog!", "cat"], ["x"]]
    found = squad_scores(predictions, answers)
    assert found == {
        "exact_match": pytest.approx(100 / 3),
        "f1": pytest.approx(100 * (2 / 3 + 1) / 3),
    }


def test_published_predictions_have_their_known_scores():
    directory = Path(os.environ.get("JAXBERT_DATA", "."), "squad_v1.1")
    files = sorted(directory.glob("predictions/*.json"))
    if not files:
        pytest.skip("JAXBERT_DATA names no directory with squad_v1.1/predictions/*.json")
    data = json.loads((directory / "dev-v1.1.json").read_text())["data"]
    entries = [e for article in data for p in article["paragraphs"] for e in p["qas"]]
    answers = {e["id"]: [answer["text"] for answer in e["answers"]] for e in entries}
    known = {
        "BERT (ens": (86.206, 92.196),
        "Logistic ": (40.142, 50.982),
        "Match-LST": (67.635, 76.756),
        "SLQA+ (en": (81.949, 88.384),
        "r-net+ (e": (82.469, 88.478),
    }
    for file in files:
        predictions = json.loads(file.read_text())
        found = squad_scores([predictions.get(name) for name in answers], list(answers.values()))
        if file is files[0]:
            assert found == official_v1(predictions, answers)
        assert tuple(round(value, 3) for value in found.values()) == known[file.name[:9]]
