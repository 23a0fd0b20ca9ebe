"""The fine-tuning benchmark's problems by transformers' Trainer, with its own collators."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import seqeval.metrics
import torch
import transformers
from finetuning_data import Problem
from sklearn.metrics import accuracy_score, f1_score

from jaxbert.metrics.squad import squad_scores

Rows = list[dict[str, Any]]


def train(
    problem: Problem, model: Path, paths: tuple[Path, Path], seed: int, out: Path, share: float
) -> tuple[float, Any]:
    """The metric on the test rows, and the training's own figures."""
    transformers.set_seed(seed)
    rows, test = ([json.loads(line) for line in path.open()] for path in paths)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    make = {"classes": _classes, "labels": _classes, "tags": _tags, "answers": _answers}
    network, features, collator, judge = make[problem.kind](problem, model, tokenizer, rows, test)
    trainer = transformers.Trainer(
        network,
        transformers.TrainingArguments(
            str(out),
            per_device_train_batch_size=problem.batch_size,
            per_device_eval_batch_size=32,
            num_train_epochs=problem.epochs * share,
            learning_rate=problem.learning_rate,
            warmup_steps=0.1,
            weight_decay=0.01,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=features[0],
        data_collator=collator,
    )
    figures = trainer.train().metrics
    return judge(trainer.predict(features[1]).predictions), figures


def _classes(problem: Problem, model: Path, tokenizer: Any, rows: Rows, test: Rows) -> Any:
    is_multi = problem.kind == "labels"
    names = sorted({name for row in rows for name in _as_list(row["label"])})
    index = {name: number for number, name in enumerate(names)}
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        model,
        num_labels=len(names),
        problem_type="multi_label_classification" if is_multi else "single_label_classification",
    )

    if is_multi:
        # As jaxbert's `task.prior_bias`; from zeros both stay where every text gets the same.
        counts = np.array([sum(name in row["label"] for row in rows) for name in names])
        odds = (counts + 0.5) / (len(rows) - counts + 0.5)
        network.classifier.bias.data = torch.tensor(np.log(odds), dtype=torch.float32)

    def target(row: dict[str, Any]) -> Any:
        if not is_multi:
            return index[row["label"]]
        return [float(name in row["label"]) for name in names]

    def features(given: Rows) -> datasets.Dataset:
        pairs = [row["text_pair"] for row in given] if "text_pair" in given[0] else None
        texts = [row["text"] for row in given]
        encoded = tokenizer(texts, pairs, truncation=True, max_length=problem.max_seq_length)
        return datasets.Dataset.from_dict({**encoded, "labels": [target(row) for row in given]})

    def judge(logits: np.ndarray) -> float:
        targets = np.array([target(row) for row in test])
        if is_multi:
            return float(f1_score(targets, logits > 0, average="micro"))
        return float(accuracy_score(targets, logits.argmax(axis=-1)))

    collator = transformers.DataCollatorWithPadding(tokenizer)
    return network, (features(rows), features(test)), collator, judge


def _as_list(label: str | list[str]) -> list[str]:
    return label if isinstance(label, list) else [label]


def _tags(problem: Problem, model: Path, tokenizer: Any, rows: Rows, test: Rows) -> Any:
    names = sorted({tag for row in [*rows, *test] for tag in row["tags"]})
    index = {name: number for number, name in enumerate(names)}
    network = transformers.AutoModelForTokenClassification.from_pretrained(
        model, num_labels=len(names)
    )

    def features(given: Rows) -> datasets.Dataset:
        encoded = tokenizer(
            [row["words"] for row in given],
            is_split_into_words=True,
            truncation=True,
            max_length=problem.max_seq_length,
        )
        labels = []
        for number, row in enumerate(given):
            words = encoded.word_ids(number)
            firsts = [b is not None and a != b for a, b in zip([None, *words], words, strict=False)]
            labels.append(
                [
                    index[row["tags"][word]] if first else -100
                    for word, first in zip(words, firsts, strict=True)
                ]
            )
        return datasets.Dataset.from_dict({**encoded, "labels": labels})

    found = features(rows), features(test)

    def judge(logits: np.ndarray) -> float:
        predicted = []
        for row, labels, scores in zip(test, found[1]["labels"], logits, strict=True):
            kept = np.array(labels) != -100
            best = [names[i] for i in scores[: len(labels)][kept].argmax(axis=-1)]
            # Words that truncation cut off, and those without a piece, are no entities.
            predicted.append((best + ["O"] * len(row["tags"]))[: len(row["tags"])])
        gold = [row["tags"] for row in test]
        if problem.schemes:
            return float(seqeval.metrics.f1_score(gold, predicted))
        return float(seqeval.metrics.accuracy_score(gold, predicted))

    collator = transformers.DataCollatorForTokenClassification(tokenizer)
    return network, found, collator, judge


def _answers(problem: Problem, model: Path, tokenizer: Any, rows: Rows, test: Rows) -> Any:
    network = transformers.AutoModelForQuestionAnswering.from_pretrained(model)

    def encoded(given: Rows) -> Any:
        return tokenizer(
            [row["question"].lstrip() for row in given],
            [row["context"] for row in given],
            truncation="only_second",
            max_length=problem.max_seq_length,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    windows = encoded(rows)
    starts, ends = [], []
    for number, owner in enumerate(windows["overflow_to_sample_mapping"]):
        start, end = _labels(windows, number, rows[owner]["answers"])
        starts.append(start)
        ends.append(end)
    names = tokenizer.model_input_names
    train = {name: windows[name] for name in names}
    train |= {"start_positions": starts, "end_positions": ends}
    judged = encoded(test)

    def judge(logits: tuple[np.ndarray, np.ndarray]) -> float:
        best: dict[str, tuple[float, str]] = defaultdict(lambda: (-np.inf, ""))
        for number, owner in enumerate(judged["overflow_to_sample_mapping"]):
            row = test[owner]
            found = _best(judged, number, logits[0][number], logits[1][number], row["context"])
            best[row["id"]] = max(best[row["id"]], found)
        found = [best[row["id"]][1] for row in test]
        return squad_scores(found, [row["answers"]["text"] for row in test])["f1"]

    features = [
        datasets.Dataset.from_dict(train),
        datasets.Dataset.from_dict({name: judged[name] for name in names}),
    ]
    return network, features, transformers.DataCollatorWithPadding(tokenizer), judge


def _labels(windows: Any, number: int, answers: Mapping[str, Sequence[Any]]) -> tuple[int, int]:
    first = answers["answer_start"][0]
    last = first + len(answers["text"][0])
    kinds, offsets = windows.sequence_ids(number), windows["offset_mapping"][number]
    inside = [
        place
        for place, (kind, (start, end)) in enumerate(zip(kinds, offsets, strict=True))
        if kind == 1 and start < last and end > first
    ]
    whole = inside and offsets[inside[0]][0] <= first and offsets[inside[-1]][1] >= last
    return (inside[0], inside[-1]) if whole else (0, 0)


def _best(
    windows: Any, number: int, start: np.ndarray, end: np.ndarray, context: str
) -> tuple[float, str]:
    kinds, offsets = windows.sequence_ids(number), windows["offset_mapping"][number]
    found = (-np.inf, "")
    for i in np.argsort(-start)[:20]:
        for j in np.argsort(-end)[:20]:
            if max(i, j) >= len(kinds) or kinds[i] != 1 or kinds[j] != 1 or not 0 <= j - i < 30:
                continue
            text = context[offsets[i][0] : offsets[j][1]]
            found = max(found, (float(start[i] + end[j]), text))
    return found
