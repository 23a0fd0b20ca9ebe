"""What is written, opened by sentence-transformers itself, and what that writes, opened here."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from jaxbert.experiment.predictor import Predictor
from jaxbert.families import preset
from jaxbert.hub.convert import convert
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head, Pooling, ProblemType
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

TEXTS = ["A film, a fine one.", "", "Über 42 films: isn't it?", "fine " * 90, "one"]
PAIRS = [("a film", "It is fine."), ("", "one"), ("fine " * 70, "film " * 90)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    trained = train_wordpiece(TEXTS, 60, min_frequency=1)
    return Tokenizer(trained.backend, trained.config | {"model_max_length": 64})


def written(head: Head, tokenizer: Tokenizer, directory: Path, **options: Any) -> Path:
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 64}
    encoder = replace(preset("bert-tiny"), **sizes)
    save_params(init_params(encoder, head, 3), encoder, head, tokenizer, directory, **options)
    return directory


def embeddings(directory: Path) -> np.ndarray:
    return np.array([row["embedding"] for row in Predictor(directory)(TEXTS)])


@pytest.mark.parametrize(
    ("pooling", "is_normalized", "default"),
    [("mean", True, None), ("cls", False, "query"), ("max", False, None)],
)
def test_sentence_transformers_gives_the_vectors_of_our_files_and_its_files_open_here(
    tokenizer: Tokenizer, tmp_path: Path, pooling: Pooling, is_normalized: bool, default: str | None
):
    head = Head(pooling=pooling, is_normalized=is_normalized)
    prompts = {"prompts": {"query": "one: ", "document": ""}, "default_prompt_name": default}
    ours = written(head, tokenizer, tmp_path / "ours", prompts=prompts)
    model = SentenceTransformer(str(ours), device="cpu")
    assert (model.max_seq_length, model.default_prompt_name) == (64, default)
    expected = model.encode(TEXTS, convert_to_numpy=True)
    np.testing.assert_allclose(embeddings(ours), expected, atol=2e-6, rtol=1e-5)
    model.save_pretrained(str(tmp_path / "theirs"))
    assert load_params(tmp_path / "theirs").head == head
    np.testing.assert_allclose(embeddings(tmp_path / "theirs"), expected, atol=2e-6, rtol=1e-5)


def scores(directory: Path) -> np.ndarray:
    rows = Predictor(directory, columns={"text": "query", "text_pair": "passage"})(PAIRS)
    return np.array(
        [row["probabilities"]["fits"] if "labels" in row else row["value"] for row in rows]
    )


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_cross_encoder_gives_the_scores_that_we_predict(
    tokenizer: Tokenizer, tmp_path: Path, problem: ProblemType
):
    head = Head("sequence_classification", ("fits",), problem)
    ours, theirs = written(head, tokenizer, tmp_path / "ours"), tmp_path / "theirs"
    model = CrossEncoder(str(ours), device="cpu")
    expected = model.predict(PAIRS)
    np.testing.assert_allclose(scores(ours), expected, atol=2e-6, rtol=1e-5)
    model.save_pretrained(str(theirs))
    # As most of its published files have it: what kind of score it is stands beside config.json.
    fields = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(fields | {"problem_type": None}))
    convert(theirs, tmp_path / "again")
    for directory in (theirs, tmp_path / "again"):
        assert load_params(directory).head == head
        np.testing.assert_allclose(scores(directory), expected, atol=2e-6, rtol=1e-5)
    assert CrossEncoder(str(tmp_path / "again"), device="cpu").predict(PAIRS) == pytest.approx(
        expected, abs=2e-6
    )
