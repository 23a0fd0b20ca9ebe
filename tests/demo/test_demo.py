"""The demo's data are honest, and the demo runs."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from jaxbert.data.sources.docs import read_docs
from jaxbert.demo import recipe
from jaxbert.demo.corpus import LIBRARIES, held_out_modules, prose, write_corpus
from jaxbert.demo.report import show, write
from jaxbert.demo.run import Outcome, run_demo

LIMIT_MB = 3.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder, limit_mb=LIMIT_MB, train_per_library=20, test_per_library=20)


@pytest.fixture(scope="module")
def documents():
    return list(read_docs(int(LIMIT_MB * 1e6), LIBRARIES))


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_no_docstring_is_on_both_sides(files):
    train = {row["text"] for row in rows(files.train)}
    test = {row["text"] for row in rows(files.test)}
    assert len(train) > 12 * 15
    assert len(test) > 12 * 10
    assert not train & test


def test_what_is_tested_on_is_in_no_module_that_is_trained_on(files, documents):
    held_out = held_out_modules(documents)
    kept = [document for document in documents if document.module not in held_out]
    assert [row["text"] for row in rows(files.corpus)] == [document.text for document in kept]
    seen = {prose(docstring.text) for document in kept for docstring in document.docstrings}
    assert seen.isdisjoint(row["text"] for row in rows(files.test))


def test_a_test_row_comes_from_a_held_out_module_of_its_library(files, documents):
    held_out = held_out_modules(documents)
    known = {
        (document.package, prose(docstring.text))
        for document in documents
        if document.module in held_out
        for docstring in document.docstrings
    }
    assert {(row["label"], row["text"]) for row in rows(files.test)} <= known


def test_every_library_holds_out_a_fifth_to_a_third_of_its_docstrings(documents):
    held_out = held_out_modules(documents)
    for library in LIBRARIES:
        mine = [document for document in documents if document.package == library]
        tested = sum(len(d.docstrings) for d in mine if d.module in held_out)
        assert 0.1 < tested / sum(len(d.docstrings) for d in mine) <= 0.35, library


def test_no_row_names_a_library(files):
    for row in rows(files.train) + rows(files.test):
        for library in LIBRARIES:
            assert not re.search(rf"\b{library}\b", row["text"], re.IGNORECASE), row


def test_prose_keeps_words_and_drops_code():
    text = "Add NumPy arrays with np.add.\n\n>>> np.add(1, 2)\n3\n"
    assert prose(text) == "Add arrays with add. 3"


def test_the_majority_is_that_of_the_test_rows(files):
    labels = [row["label"] for row in rows(files.test)]
    assert files.majority == max(labels.count(label) for label in labels) / len(labels)
    assert files.test_rows == len(labels)


def test_the_verdict_follows_from_the_figures(files, tmp_path):
    def verdict(pretrained, scratch):
        outcome = Outcome(files, {}, pretrained, scratch, 0.5, (("a text", "jax", 0.5),))
        console = Console(file=io.StringIO(), width=200)
        show(outcome, console)
        write(outcome, tmp_path)
        return outcome, console.file.getvalue()

    outcome, text = verdict((0.50, 0.52, 0.54), (0.40, 0.41, 0.45))
    assert outcome.margin == pytest.approx(0.10)
    assert outcome.spread == pytest.approx(0.05)
    assert "beats" in text
    assert "does NOT beat" in verdict((0.5, 0.6), (0.45, 0.5))[1]
    assert json.loads((tmp_path / "results.json").read_text())["margin"] == pytest.approx(0.075)
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_runs_and_the_export_scores_what_the_run_scored(tmp_path, monkeypatch):
    for name, value in {
        "CORPUS_MB": LIMIT_MB,
        "VOCABULARY_SIZE": 1000,
        "TRAIN_PER_LIBRARY": 5,
        "TEST_PER_LIBRARY": 8,
        "SEEDS": (0,),
    }.items():
        monkeypatch.setattr(recipe, name, value)
    said = []
    outcome = run_demo(tmp_path / "demo", num_steps=3, say=said.append)
    assert len(said) >= 5
    assert outcome.reloaded == pytest.approx(outcome.pretrained[0], abs=1e-12)
    assert np.isfinite(outcome.pretraining["eval_masked_lm_loss"])
    assert {library for _, library, _ in outcome.predictions} <= set(LIBRARIES)
    assert (tmp_path / "demo" / "pretrained" / "model" / "model.safetensors").is_file()
