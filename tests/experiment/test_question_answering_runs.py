"""A tiny model learns to answer from packed windows; evaluation and prediction agree with it."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.small_runs import ANIMALS, fine_tuning, sentence, sentences

from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import evaluate_labelled, reading_of, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.save import save_params
from jaxbert.metrics.squad import squad_v2_scores
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece

OVERRIDES = (
    "task={kind: question_answering, unanswerable: true, n_best: 4}",
    "max_seq_length=20",
    "windows={stride: 4}",
    "packing=true",
    "num_epochs=4",
    "loop.evaluate_every=null",
    "checkpoint.metric=f1",
)


def entry(number: int, generator: random.Random) -> dict[str, Any]:
    """Which animal is in the text? There is one or none in it."""
    text = " ".join(sentence(generator) for _ in range(generator.randint(1, 3)))
    words = [word.strip(".") for word in text.split()]
    animals = [word for word in words if word in ANIMALS]
    for animal in animals[1:] if generator.random() < 0.8 else animals:
        text = text[::-1].replace(animal[::-1], "tree"[::-1], 1)[::-1]
    kept = [word for word in ANIMALS if word in text]
    for animal in kept[1:]:
        text = text.replace(animal, "house")
    answers = [{"text": kept[0], "answer_start": text.index(kept[0])}] if kept else []
    return {"id": f"q{number}", "question": "Which?", "context": text, "answers": answers}


def entries(number: int, seed: int) -> list[dict[str, Any]]:
    generator = random.Random(seed)
    return [entry(i, generator) for i in range(number)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """SQuAD's JSON to train on, JSON lines to evaluate on."""
    directory = tmp_path_factory.mktemp("questions")
    paragraphs = [
        {"context": e.pop("context"), "qas": [e | {"is_impossible": not e["answers"]}]}
        for e in entries(120, 1)
    ]
    train = directory / "train-v2.0.json"
    train.write_text(json.dumps({"version": "v2.0", "data": [{"paragraphs": paragraphs}]}))
    validation = directory / "dev.jsonl"
    validation.write_text("".join(json.dumps(e) + "\n" for e in entries(40, 2)))
    return train, validation


@pytest.fixture(scope="module")
def run(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("answers")
    tokenizer = train_wordpiece([*sentences(60, 3), "Which?"], 120, min_frequency=1)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = directory / "model"
    save_params(init_params(config, Head(), 0), config, Head(), tokenizer, model)
    finetune(fine_tuning(model, *files, *OVERRIDES), directory / "run", quiet=True)
    return directory / "run"


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "all_results.json").read_text())


def test_it_learns_to_answer_and_not_to(run: Path):
    found = results(run)
    assert found["eval_HasAns_exact"] > 80
    assert found["eval_NoAns_exact"] > 80
    assert found["eval_f1"] <= found["eval_best_f1"]


def test_evaluation_and_predictions_agree_with_the_run(run: Path, files: tuple[Path, Path]):
    model, data = ready(run, batch_size=8), str(files[1])
    section, reading = section_of(model), reading_of(model)
    assert reading == Reading(20, windows=reading.windows)
    metrics = evaluate_labelled(model, data, section, reading)
    for name in ("loss", "exact", "f1", "best_f1", "best_f1_thresh"):
        np.testing.assert_allclose(metrics[name], results(run)[f"eval_{name}"], rtol=1e-4)
    predictor = Predictor(model)
    found = list(predictor.records(section.read(data, labelled=False)))
    wanted = entries(40, 2)
    assert [p["id"] for p in found] == [e["id"] for e in wanted]
    texts = [p["prediction_text"] for p in found]
    answers = [[answer["text"] for answer in e["answers"]] for e in wanted]
    excess = [p["no_answer_probability"] for p in found]
    scores = squad_v2_scores(texts, answers, texts, excess)
    assert (scores["exact"], scores["f1"]) == (metrics["exact"], metrics["f1"])
    for prediction, e in zip(found, wanted, strict=True):
        assert len(prediction["n_best"]) <= 4
        for answer in prediction["n_best"]:
            assert answer["text"] == e["context"][answer["start"] : answer["end"]]
    bold = section_of(model, overrides=["task.null_threshold=1000", "task.n_best=1"])
    found = list(Predictor(model, section=bold).records(section.read(data, labelled=False)))
    assert all(p["prediction_text"] == p["n_best"][0]["text"] for p in found)
    with pytest.raises(UserError, match=r"n_best=1: expected task.KEY=VALUE"):
        section_of(model, overrides=["n_best=1"])
    with pytest.raises(UserError, match=r"unknown key 'task.n_bst': did you mean 'n_best'"):
        section_of(model, overrides=["task.n_bst=1"])
    asked = predictor([("Which?", e["context"]) for e in wanted[:3]])
    assert [p["prediction_text"] for p in asked] == texts[:3]
    assert [p["id"] for p in asked] == ["1", "2", "3"]
