"""Every example runs as a script, one on what the other has made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quick_programs

import jaxbert
from jaxbert.cli import main
from jaxbert.training.metrics_file import read_metrics

EXAMPLES = Path(__file__).parents[1] / "examples"
WORDS = [
    "the",
    "encoder",
    "reads",
    "a",
    "sentence",
    "and",
    "model",
    "learns",
    "what",
    "words",
    "are",
]


def started(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = os.environ | quick_programs.ENVIRONMENT
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def run_example(name, *arguments):
    done = started(name, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def sentences(count):
    return [" ".join(WORDS[i % 7 : i % 7 + 3 + i % 4]).capitalize() + "." for i in range(count)]


def files_in(directory):
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    text = folder / "text.txt"
    documents = [" ".join(sentences(20 + i)) for i in range(100)]
    text.write_text("\n\n".join(documents))
    out = run_example(
        "pretrain.py",
        *(text, "--out", folder / "out", "--preset", "bert-tiny"),
        *("--vocab-size", 100, "--steps", 4, "--batch-size", 8),
    )
    assert "masked_lm_loss" in out
    return folder / "out" / "run"


def test_the_pretraining_example_leaves_a_model(pretrained):
    assert (pretrained / "model" / "model.safetensors").is_file()


def test_the_fine_tuning_example_predicts(pretrained, tmp_path):
    rows = [f'"{text}",{"even" if i % 2 == 0 else "odd"}' for i, text in enumerate(sentences(24))]
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "\n".join(rows) + "\n")
    out = run_example(
        "finetune_classifier.py",
        *("--model", pretrained, "--train", table, "--validation", table),
        *("--epochs", 1, "--batch-size", 8, "--max-seq-length", 32, "--out", tmp_path / "run"),
    )
    assert out.count("'probabilities'") == 5


def test_the_conversion_example_writes_what_the_verb_writes(pretrained, tmp_path):
    source = tmp_path / "encoder"
    jaxbert.convert(pretrained, source, head="none")
    (source / "1_Pooling").mkdir()
    package = "sentence_transformers.models"
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [{"type": f"{package}.{kind}", "path": path} for kind, path in paths.items()]
    for name, values in (
        ("modules.json", modules),
        ("1_Pooling/config.json", {"pooling_mode": "mean"}),
        ("sentence_bert_config.json", {"max_seq_length": 9}),
        ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}),
    ):
        (source / name).write_text(json.dumps(values))
    (source / "README.md").write_text("---\nlicense: mit\n---\n# Theirs\n")
    out = run_example("convert.py", source, tmp_path / "example" / "out")
    assert "none head, 2 layers" in out
    assert main(["convert", str(source), str(tmp_path / "verb" / "out")]) == 0
    assert files_in(tmp_path / "example") == files_in(tmp_path / "verb")
    assert "license: mit\n" in (tmp_path / "example" / "out" / "README.md").read_text()
    assert jaxbert.load_tokenizer(tmp_path / "example" / "out").model_max_length == 9


def test_the_research_loop_learns_something(pretrained, tmp_path):
    text = tmp_path / "sentences.txt"
    # They begin alike, so that the first word gives most shuffled ones away.
    text.write_text("\n".join(" ".join(WORDS[:count]) for count in range(8, 12)))
    out = run_example(
        "research_loop.py",
        *(pretrained, text, "--out", tmp_path / "trained"),
        *("--steps", 80, "--batch-size", 32, "--length", 16, "--learning-rate", 7e-4),
    )
    losses = [float(line.split()[3]) for line in out.splitlines() if line.startswith("step")]
    # Who only guesses has log(2). The last bits of a processor's sums move a run by about 0.1.
    assert np.mean(losses[-4:]) < 0.5 * np.log(2)
    before, after = (
        jaxbert.from_pretrained(path, head="none").encoder.embeddings.word.embedding[...]
        for path in (pretrained, tmp_path / "trained")
    )
    assert before.shape == after.shape
    assert not (before == after).all()


def test_an_objective_of_ones_own_is_learnt_and_continued(pretrained, tmp_path):
    text = tmp_path / "sentences.txt"
    text.write_text("\n".join(sentences(50)))
    command = ("own_objective.py", pretrained, text, "--out", tmp_path / "run", "--length", 16)
    options = ("--batch-size", 16, "--learning-rate", 2e-3)
    run_example(*command, *options, "--steps", 40)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [row["moved_loss"] for row in rows]
    assert losses[-1] < losses[0]
    model = tmp_path / "run" / "model" / "model.safetensors"
    before = model.read_bytes()
    run_example(*command, *options, "--steps", 40)
    assert model.read_bytes() == before
    assert read_metrics(tmp_path / "run" / "metrics.jsonl") == rows
    assert jaxbert.from_pretrained(tmp_path / "run").head.labels == ("in place", "moved")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("convert.py", ("nowhere/at/all", "out"), "nowhere/at/all"),
        ("pretrain.py", ("nowhere.txt", "--out", "out"), "nowhere.txt"),
        ("research_loop.py", ("MODEL", "nowhere.txt"), "nowhere.txt: No such file or directory"),
        (
            "finetune_classifier.py",
            ("--model", "MODEL", "--train", "TABLE", "--validation", "WRONG", "--out", "out"),
            "wrong.csv: no column text; the columns are: sentence, label",
        ),
    ],
)
def test_a_mistake_ends_an_example_as_it_ends_a_command(
    pretrained, tmp_path, name, arguments, said
):
    table, wrong = tmp_path / "table.csv", tmp_path / "wrong.csv"
    for file, column in ((table, "text"), (wrong, "sentence")):
        file.write_text(f"{column},label\nA sentence.,even\nAnother one.,odd\n")
    places = {"MODEL": pretrained, "TABLE": table, "WRONG": wrong, "out": tmp_path / "out"}
    done = started(name, *(places.get(word, word) for word in arguments))
    assert done.returncode == 2
    *warnings, line = done.stderr.splitlines()
    assert all(warning.startswith("jaxbert: ") for warning in warnings)
    assert line.startswith(f"{name}: ")
    assert said in line
