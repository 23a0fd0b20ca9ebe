"""Fine-tuning tasks whose examples are several texts, from files to predictions."""

import json
import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiment.small_runs import ADJECTIVES, ANIMALS, THINGS, VERBS, pairs

from jaxbert.config import parse_config
from jaxbert.data.reading import Reading
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.inference import evaluate_labelled, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.run_files import read_run_config
from jaxbert.hub.convert import convert
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.metrics.retrieval import unit
from jaxbert.nn.head import Head
from jaxbert.tasks.prompts import Prompts
from jaxbert.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module", autouse=True)
def _quickly(pretrained: Path):
    """LLVM's passes are most of the time that these runs take; other tests' run is made before."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def fine_tuning(model: Path, train: Path, validation: Path, *overrides: str) -> Finetune:
    values = {
        "model": str(model),
        "train": str(train),
        "validation": str(validation),
        "max_seq_length": 24,
        "batch_size": 16,
        "num_epochs": 12,
        "optimizer": {"learning_rate": 1e-2},
        "loop": {"log_every": 1, "evaluate_every": None, "checkpoint_every": None},
    }
    return parse_config(Finetune, values, overrides)


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "all_results.json").read_text())


def questions(path: Path, number: int, seed: int) -> Path:
    """Two or three sentences, one of them about an animal."""
    draws, rows = random.Random(seed), []
    for _ in range(number):
        names = draws.sample(THINGS, draws.choice([1, 2]))
        right = draws.randint(0, len(names))
        names.insert(right, draws.choice(ANIMALS))
        choices = [f"{draws.choice(ADJECTIVES)} {name}" for name in names]
        row = {"article": draws.choice(VERBS), "options": choices, "answer": "ABC"[right]}
        rows.append(json.dumps(row) + "\n")
    path.write_text("".join(rows))
    return path


def test_multiple_choice_learns_and_is_evaluated_and_predicted_alike(
    pretrained: Path, tmp_path: Path
):
    data = questions(tmp_path / "train.jsonl", 60, 1), questions(tmp_path / "dev.jsonl", 21, 2)
    config = fine_tuning(
        pretrained,
        *data,
        "task={kind: multiple_choice, labels: [A, B, C]}",
        "task.columns={context: article, question: null, choices: options, label: answer}",
    )
    run = tmp_path / "run"
    finetune(config, run, quiet=True)
    assert results(run)["eval_accuracy"] > 0.9
    model = ready(run, batch_size=16)
    section = section_of(model)
    metrics = evaluate_labelled(model, str(data[1]), section, Reading(24))
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(metrics[name], results(run)[f"eval_{name}"], rtol=1e-5)
    rows = [json.loads(line) for line in data[1].read_text().splitlines()]
    found = list(Predictor(model).records(section.read(str(data[1]), labelled=False)))
    assert [len(f["probabilities"]) for f in found] == [len(row["options"]) for row in rows]
    np.testing.assert_allclose([sum(f["probabilities"]) for f in found], 1)
    pairs = zip(found, rows, strict=True)
    right = np.mean(["ABC"[f["choice"]] == row["answer"] for f, row in pairs])
    assert right == pytest.approx(metrics["accuracy"])


def test_the_length_of_the_data_is_that_of_all_texts_of_an_embedding(
    pretrained: Path, tmp_path: Path
):
    data, answer = tmp_path / "pairs.tsv", " ".join([*ADJECTIVES, *THINGS, *VERBS])
    data.write_text("anchor\tpositive\n" + f"a cat\t{answer}\n" * 20)
    options = ("task={kind: sentence_embedding}", "max_seq_length=auto", "validation=null")
    config = fine_tuning(pretrained, data, data, *options)
    finetune(config, tmp_path / "run", interrupted=lambda: True, quiet=True)
    [ids] = load_tokenizer(pretrained / "model").encode([answer], padding=False)["input_ids"]
    values = read_run_config(tmp_path / "run")
    assert values["max_seq_length"] == -(-len(ids) // 8) * 8


def test_embeddings_learn_and_are_evaluated_and_predicted_alike(pretrained: Path, tmp_path: Path):
    data = pairs(tmp_path / "train.tsv", 80, 1), pairs(tmp_path / "dev.tsv", 20, 2)
    config = fine_tuning(pretrained, *data, "task={kind: sentence_embedding}")
    run = tmp_path / "run"
    finetune(config, run, quiet=True)
    model = ready(run, batch_size=16)
    section, reading = section_of(model), Reading(24)
    metrics = evaluate_labelled(model, str(data[1]), section, reading)
    for name in ("loss", "mrr", "recall_at_1", "recall_at_10"):
        np.testing.assert_allclose(metrics[name], results(run)[f"eval_{name}"], rtol=1e-5)
    assert metrics["mrr"] > 0.9
    lines = data[1].read_text().splitlines()[1:]
    anchors, positives = np.array([line.split("\t") for line in lines]).T
    found = Predictor(model)([*anchors, *positives])
    vectors = np.array([row["embedding"] for row in found])
    found = unit(vectors[: len(anchors)]) @ unit(vectors[len(anchors) :]).T
    nearest = positives[found.argmax(axis=1)]
    _, firsts = np.unique(anchors, return_index=True)
    assert np.mean((nearest == positives)[firsts]) == pytest.approx(metrics["recall_at_1"])
    assert load_params(run).head.pooling == "mean"
    # Where nothing else says it, texts are cut as they were in training.
    assert load_tokenizer(run / "model").model_max_length == 24


def test_a_model_keeps_the_prompts_that_it_was_trained_with(
    pretrained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    data = pairs(tmp_path / "train.tsv", 24, 1)
    task = "task={kind: sentence_embedding, prompts: {query: 'old ', document: 'the '}}"
    config = fine_tuning(pretrained, data, data, task, "num_steps=2", "lora={rank: 2}")
    run = tmp_path / "run"
    finetune(config, run, quiet=True)
    assert read_prompts(run / "model") == {"prompts": {"query": "old ", "document": "the "}}
    scores = []
    convert(run / "adapter", tmp_path / "converted")
    for directory in (run / "adapter", tmp_path / "converted", run, run / "model"):
        model = ready(directory, batch_size=16)
        section = section_of(model)
        assert section.prompts == Prompts("old ", "the ")
        scores.append(evaluate_labelled(model, str(data), section, Reading(24)))
    assert scores[2] == scores[3]
    for found in scores[:2]:
        assert found == pytest.approx(scores[2], rel=1e-5)
    np.testing.assert_allclose(scores[0]["loss"], results(run)["eval_loss"], rtol=1e-5)
    caplog.clear()
    without = Predictor(run / "model")
    assert "none is put before these texts: task.prompt=query says 'old '" in caplog.text
    caplog.clear()
    documents = Predictor(model, overrides=["task.prompt=document"])
    assert not caplog.text
    np.testing.assert_allclose(
        documents.vectors(["cat", "tree"]), without.vectors(["the cat", "the tree"]), rtol=1e-5
    )
    assert (documents.vectors(["cat"]) != without.vectors(["cat"])).any()


def test_a_sentence_transformer_is_trained_with_its_own_pooling(pretrained: Path, tmp_path: Path):
    model, run = tmp_path / "model", tmp_path / "run"
    loaded = load_params(pretrained, head=Head(pooling="cls", is_normalized=True))
    tokenizer = load_tokenizer(loaded.directory)
    save_params(loaded.params, loaded.config, loaded.head, tokenizer, model)
    data = pairs(tmp_path / "train.tsv", 20, 1)
    config = fine_tuning(model, data, data, "task={kind: sentence_embedding}", "num_steps=1")
    finetune(config, run, quiet=True)
    assert load_params(run).head == loaded.head
    # A run says how its vectors are made, and goes on when that is said again.
    assert "pooling: cls\n" in (run / "config.yaml").read_text()
    again = fine_tuning(
        model, data, data, "task={kind: sentence_embedding, pooling: cls}", "num_steps=1"
    )
    assert finetune(again, run, quiet=True).outcome == "finished"


def test_microbatches_change_no_loss_of_negatives_packed_and_from_a_teacher(
    pretrained: Path, tmp_path: Path
):
    data = pairs(tmp_path / "train.tsv", 80, 1)
    found = []
    for parts in (1, 4):
        config = fine_tuning(
            *(pretrained, data, data, "task={kind: sentence_embedding}"),
            *("packing=true", "dropout={hidden: 0, attention: 0}", "num_steps=3", "batch_size=32"),
            *(f"distillation={{teacher: {pretrained}}}", f"step.accumulation_steps={parts}"),
        )
        run = tmp_path / f"run{parts}"
        finetune(config, run, quiet=True)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        found.append([row["loss"] for row in rows if "loss" in row] + [results(run)["eval_loss"]])
    assert len(found[0]) > 1
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
