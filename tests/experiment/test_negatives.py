"""Hard negatives against brute force over all vectors, and a run that learns from them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxbert.cli import main
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.experiment.inference import Ready, reading_of, ready, section_of
from jaxbert.experiment.negatives import Mining, mine_negatives
from jaxbert.experiment.predictor import Predictor
from jaxbert.families import preset
from jaxbert.hub.save import save_params
from jaxbert.metrics.retrieval import unit
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece

WORDS = ["moon", "far", "near", "tree", "green", "cat", "dog", "old", "house", "river"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    tokenizer = train_wordpiece([" ".join(WORDS)], 60, min_frequency=1)
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 32}
    encoder, head = replace(preset("bert-tiny"), **sizes), Head(pooling="mean")
    place = tmp_path_factory.mktemp("mining") / "model"
    save_params(init_params(encoder, head, 1), encoder, head, tokenizer, place)
    return place


@pytest.fixture(scope="module")
def model(directory: Path) -> Ready:
    return ready(directory, batch_size=8)


def texts(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, 5)) for _ in range(count)]


@pytest.mark.parametrize(
    "mining",
    [
        Mining(negatives=3, relative_margin=0.0),
        Mining(negatives=4, skip=2, depth=6, relative_margin=0.01),
        Mining(negatives=2, relative_margin=0.3),
    ],
    ids=["nearest", "skipping", "far"],
)
def test_negatives_are_the_nearest_that_may_be_none_of_the_anchors(model: Ready, mining: Mining):
    anchors, positives, corpus = texts(30, 0), texts(30, 1), texts(20, 2)
    # One anchor has two positives, one its own text among those of others, one a text twice.
    anchors[1], positives[2], corpus[0] = anchors[0], anchors[3], positives[4]
    rows = [
        Row({"anchor": anchor, "positive": positive}, "data", number)
        for number, (anchor, positive) in enumerate(zip(anchors, positives, strict=True))
    ]
    section, reading = section_of(model), reading_of(model)
    found = mine_negatives(model, section, reading, rows, corpus, mining)
    everything = list(dict.fromkeys(positives + corpus))
    predictor = Predictor(model)
    vectors = unit(predictor.vectors(everything))
    for row, anchor, positive in zip(found, anchors, positives, strict=True):
        assert (row.anchor, row.positive) == (anchor, positive)
        scores = vectors @ unit(predictor.vectors([anchor]))[0]
        own = scores[everything.index(positive)]
        own = own - mining.relative_margin * abs(own)
        belonging = {anchor, *(p for a, p in zip(anchors, positives, strict=True) if a == anchor)}
        ranked = [everything[n] for n in np.argsort(-scores, kind="stable")]
        others = [text for text in ranked if text not in belonging]
        others = others[mining.skip : mining.skip + mining.depth]
        expected = [text for text in others if scores[everything.index(text)] <= own]
        assert list(row.negatives) == expected[: mining.negatives]
    if mining.relative_margin == 0.0:
        assert any(len(row.negatives) == 3 for row in found)


@pytest.mark.parametrize(
    ("field", "value"), [("negatives", 0), ("skip", -1), ("depth", 0), ("relative_margin", 1.0)]
)
def test_what_mining_cannot_be_is_refused(field: str, value: float):
    with pytest.raises(UserError, match=f"{field}="):
        Mining(**{field: value})


def test_a_run_learns_from_what_was_mined(directory: Path, tmp_path: Path, capsys):
    pairs, hard, run = tmp_path / "pairs.tsv", tmp_path / "hard.jsonl", tmp_path / "run"
    lines = [f"{a}\t{p}" for a, p in zip(texts(16, 3), texts(16, 4), strict=True)]
    pairs.write_text("\n".join(["anchor\tpositive", *lines]) + "\n")
    words = ["--data", str(pairs), "--out", str(hard), "--negatives", "2"]
    assert main(["mine", str(directory), *words, "--relative-margin", "0"]) == 0
    said = capsys.readouterr().out
    assert "train with: task.columns.negatives=[negative_1,negative_2]" in said
    rows = [json.loads(line) for line in hard.read_text().splitlines()]
    assert [f"{row['anchor']}\t{row['positive']}" for row in rows] == lines
    assert any(row["negative_2"] for row in rows)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {directory}\ntrain: {hard}\nvalidation: null\nnum_steps: 1\nbatch_size: 8\n"
        "max_seq_length: 16\noptimizer: {learning_rate: 1.0e-3}\n"
        "task: {kind: sentence_embedding, columns: {negatives: [negative_1, negative_2]}}\n"
    )
    assert main(["finetune", str(config), "--run", str(run)]) == 0


def test_mining_without_a_file_or_vectors_is_refused(directory: Path, tmp_path: Path, capsys):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("anchor\tpositive\na\tb\n")
    assert main(["mine", str(directory), "--data", str(pairs)]) == 2
    assert "--out: name the file to write" in capsys.readouterr().err
    words = ["--data", str(pairs), "--out", str(tmp_path / "out.tsv")]
    assert main(["mine", str(directory), *words, "--corpus-column", "x"]) == 2
    assert "--corpus-column: of --corpus alone" in capsys.readouterr().err
    assert main(["mine", str(directory), *words, "task.columns.label=score"]) == 2
    assert "task.columns.label=score: these pairs are scored" in capsys.readouterr().err
