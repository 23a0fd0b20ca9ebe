"""Flags for texts that are longer than a row."""

import json
from pathlib import Path

import pytest

from jaxbert.cli import main
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece

TEXTS = ["a house sees the cat and the tree sees a house", "the house", "a tree sees a house"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An untrained classifier and a table."""
    directory = tmp_path_factory.mktemp("long")
    tokenizer = train_wordpiece(TEXTS, 60, min_frequency=1)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=32,
        initializer_range=1.0,
    )
    head = Head("sequence_classification", labels=("x", "y"))
    save_params(init_params(config, head, 0), config, head, tokenizer, directory / "model")
    rows = [f"{text}\t{'xy'[number % 2]}\n" for number, text in enumerate(TEXTS)]
    (directory / "a.tsv").write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    return str(directory / "model"), str(directory / "a.tsv")


def predicted(capsys, files: tuple[str, str], *flags: str) -> list[float]:
    model, table = files
    capsys.readouterr()
    assert main(["predict", model, "--data", table, "--max-seq-length", "7", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line)["probabilities"]["x"] for line in lines]


def test_only_longer_texts_depend_on_what_is_read_of_them(files, capsys):
    head = predicted(capsys, files)
    tail = predicted(capsys, files, "--truncation", "tail")
    both = predicted(capsys, files, "--truncation", "head_tail")
    shared = predicted(capsys, files, "--truncation", "head_tail", "--head-share", "0.6")
    windows = predicted(capsys, files, "--stride", "2")
    largest = predicted(capsys, files, "--stride", "2", "--combine", "max")
    assert len({row[0] for row in (head, tail, both, shared, windows, largest)}) == 6
    for row in (tail, both, shared, windows, largest):
        assert row[1:] == pytest.approx(head[1:], rel=1e-5)


def test_evaluation_counts_texts_and_not_windows(files, capsys, tmp_path: Path):
    model, table = files
    words = ["evaluate", model, "--data", table, "--max-seq-length", "7", "--stride", "2"]
    assert main([*words, "--out", str(tmp_path / "a.json")]) == 0
    metrics = json.loads((tmp_path / "a.json").read_text())
    chances = predicted(capsys, files, "--stride", "2")
    right = [(x > 0.5) == (label == "x") for x, label in zip(chances, "xyx", strict=True)]
    assert metrics["rows"] == 3
    assert metrics["accuracy"] == pytest.approx(sum(right) / 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stride", "5"], "stride=5 are to overlap: take a smaller stride"),
        (["--stride", "7"], "windows.stride=7 are to overlap of max_seq_length=7 tokens: take a"),
        (["--stride", "-1"], "windows.stride=-1: must be at least 0"),
        (["--stride", "1", "--truncation", "tail"], "truncation=tail a part: drop one"),
        (["--head-share", "2", "--truncation", "head_tail"], "head_share=2.0: must be between"),
        (["--head-share", "0.3"], "head_share=0.3: of truncation=head_tail, and here it is head"),
        (["--head-share", "0.3", "--stride", "1"], "truncation=head_tail, and here it is none"),
    ],
)
def test_mistakes_are_one_line(files, capsys, flags: list[str], message: str):
    model, table = files
    assert main(["predict", model, "--data", table, "--max-seq-length", "7", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
