"""Every example runs as a script, one on what the other has made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import quick_programs

import jaxbert

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


def run_example(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = os.environ | quick_programs.ENVIRONMENT
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def sentences(count):
    return [" ".join(WORDS[i % 7 : i % 7 + 3 + i % 4]).capitalize() + "." for i in range(count)]


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


def test_the_conversion_example_writes_what_it_read(pretrained, tmp_path):
    out = run_example("convert.py", pretrained, tmp_path / "exported")
    assert "pretraining head, 2 layers" in out
    original = (pretrained / "model" / "model.safetensors").read_bytes()
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == original


def test_the_research_loop_learns_something(pretrained, tmp_path):
    text = tmp_path / "sentences.txt"
    text.write_text("\n".join(sentences(50)))
    out = run_example(
        "research_loop.py",
        *(pretrained, text, "--out", tmp_path / "trained"),
        *("--steps", 60, "--batch-size", 8, "--length", 16),
    )
    losses = [float(line.split()[3]) for line in out.splitlines() if line.startswith("step")]
    assert min(losses) < losses[0]
    before, after = (
        jaxbert.from_pretrained(path, head="none").encoder.embeddings.word.embedding[...]
        for path in (pretrained, tmp_path / "trained")
    )
    assert before.shape == after.shape
    assert not (before == after).all()
