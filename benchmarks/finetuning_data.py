"""The published data sets of the fine-tuning benchmark as JSON lines that both frameworks read."""

import csv
import gzip
import hashlib
import json
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]


class Split(NamedTuple):
    """Rows to train on, and rows to be judged by."""

    train: Iterable[Record]
    test: Iterable[Record]


@dataclass(frozen=True)
class Problem:
    """A data set and the hyper-parameters that both frameworks train with."""

    name: str
    read: Callable[[Path], Split]
    kind: str
    """classes, labels (several a text), tags, or answers."""
    metric: str
    max_seq_length: int
    epochs: float
    batch_size: int = 32
    learning_rate: float = 1e-4
    schemes: bool = False
    """Tags are entities in BIO."""
    is_padded: bool = False
    """Most positions of rows as wide as the longest text are padding: the target is 1.5 times."""


def _mrpc(folder: Path) -> Split:
    def rows(name: str) -> Iterator[Record]:
        lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()[1:]
        for line in lines:
            label, _, _, first, second = line.split("\t")
            yield {"text": first, "text_pair": second, "label": label}

    return Split(rows("train.tsv"), rows("dev.tsv"))


def _polarity(folder: Path) -> Split:
    with zipfile.ZipFile(folder / "sentence_polarity.zip") as archive:
        found = [
            {"text": line.strip(), "label": label}
            for label in ("neg", "pos")
            for line in archive.read(f"sentence_polarity/rt-polarity.{label}")
            .decode("latin-1")
            .splitlines()
        ]
    return _tenth(found)


def _reviews(folder: Path) -> Split:
    with zipfile.ZipFile(folder / "movie_reviews.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        found = [
            {"text": archive.read(name).decode("latin-1"), "label": name.split("/")[1]}
            for name in names
            if name.count("/") == 2
        ]
    return _tenth(found)


def _banking(folder: Path) -> Split:
    def rows(name: str) -> Iterator[Record]:
        with open(folder / name, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {"text": row["text"], "label": row["category"]}

    return Split(rows("train.csv"), rows("test.csv"))


def _emotions(folder: Path) -> Split:
    names = (folder / "labels.txt").read_text().split()

    def rows(name: str) -> Iterator[Record]:
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            text, labels, _ = line.split("\t")
            yield {"text": text, "label": [names[int(label)] for label in labels.split(",")]}

    return Split(rows("train.tsv"), rows("test.tsv"))


def _products(column: int, at_least: int = 1) -> Callable[[Path], Split]:
    """Titles and their category (6) or cluster (4), of those that have `at_least` titles.

    Clusters are judged where training has them.
    """

    def read(folder: Path) -> Split:
        with open(folder / "pricerunner_aggregate.csv", encoding="utf-8", newline="") as file:
            found = [{"text": row[1], "label": row[column]} for row in csv.reader(file)]
        titles = Counter(row["label"] for row in found)
        train, test = _tenth([row for row in found if titles[row["label"]] >= at_least])
        train = list(train)
        known = {row["label"] for row in train}
        return Split(train, [row for row in test if row["label"] in known])

    return read


def _entities(folder: Path) -> Split:
    def rows(name: str) -> Iterator[Record]:
        pairs: list[list[str]] = []
        for line in [*(folder / name).read_text(encoding="utf-8").splitlines(), ""]:
            if line.strip():
                pairs.append(line.split("\t")[:2])
            elif pairs:
                words, tags = zip(*pairs, strict=True)
                yield {"words": list(words), "tags": list(tags)}
                pairs = []

    return Split(rows("wnut17train.conll"), rows("emerging.test.annotated"))


def _parts_of_speech(folder: Path) -> Split:
    def rows(text: str) -> Iterator[Record]:
        for block in text.split("\n\n"):
            lines = [line.split("\t") for line in block.splitlines() if line[:1].isdigit()]
            words = [line for line in lines if line[0].isdecimal()]
            if words:
                yield {"words": [line[1] for line in words], "tags": [line[3] for line in words]}

    with lzma.open(folder / "en_ewt-ud-train.rebuilt.conllu.xz", "rt", encoding="utf-8") as file:
        train = file.read()
    test = (folder / "en_ewt-ud-test.conllu").read_text(encoding="utf-8")
    return Split(rows(train), rows(test))


def _answers(folder: Path) -> Split:
    def rows(data: Any, share: int = 1) -> Iterator[Record]:
        questions = (
            {
                "id": asked["id"],
                "question": asked["question"],
                "context": paragraph["context"],
                "answers": {
                    "text": [answer["text"] for answer in asked["answers"]],
                    "answer_start": [answer["answer_start"] for answer in asked["answers"]],
                },
            }
            for article in data["data"]
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        )
        return (row for row in questions if _number(row["id"]) % share == 0)

    with gzip.open(folder / "train-v1.1.rebuilt.json.gz") as file:
        train = json.load(file)
    test = json.loads((folder / "dev-v1.1.rebuilt.json").read_text(encoding="utf-8"))
    return Split(rows(train, 16), rows(test))


def _tenth(rows: list[Record]) -> Split:
    """Every tenth row, by its text, is held out."""
    is_test = [_number(row["text"]) % 10 == 0 for row in rows]
    train = [row for row, held_out in zip(rows, is_test, strict=True) if not held_out]
    return Split(train, [row for row, held_out in zip(rows, is_test, strict=True) if held_out])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


FOLDERS = {
    "mrpc": "glue_mrpc",
    "polarity": "nltk_reviews",
    "reviews": "nltk_reviews",
    "banking77": "cls_banking77",
    "emotions": "cls_goemotions_multilabel",
    "categories": "cls_pricerunner_products",
    "clusters": "cls_pricerunner_products",
    "wnut17": "ner_wnut17",
    "parts_of_speech": "pos_ud_ewt",
    "squad": "squad_v1.1",
}
PROBLEMS = [
    Problem("mrpc", _mrpc, "classes", "accuracy", 128, 1),
    Problem("polarity", _polarity, "classes", "accuracy", 64, 0.5, is_padded=True),
    Problem("reviews", _reviews, "classes", "accuracy", 512, 0.25, 8),
    Problem("banking77", _banking, "classes", "accuracy", 64, 2, 32, 4e-4, is_padded=True),
    Problem("emotions", _emotions, "labels", "f1_micro", 64, 0.25, 16, 2e-4, is_padded=True),
    Problem("categories", _products(6), "classes", "accuracy", 64, 0.25, is_padded=True),
    Problem("clusters", _products(4, 8), "classes", "accuracy", 64, 4, 16, 5e-4, is_padded=True),
    Problem("wnut17", _entities, "tags", "f1", 128, 2, 32, 2e-4, schemes=True, is_padded=True),
    Problem("parts_of_speech", _parts_of_speech, "tags", "accuracy", 128, 0.5, is_padded=True),
    Problem("squad", _answers, "answers", "f1", 384, 0.5, 16, 4e-4, is_padded=True),
]


def write(problem: Problem, data: Path, directory: Path) -> tuple[Path, Path]:
    """train.jsonl and test.jsonl of a data set, written once."""
    paths = directory / problem.name / "train.jsonl", directory / problem.name / "test.jsonl"
    if not paths[1].exists():
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, rows in zip(paths, problem.read(data / FOLDERS[problem.name]), strict=True):
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            path.with_suffix(".partial").write_text(lines, encoding="utf-8")
            path.with_suffix(".partial").replace(path)
    return paths
