"""Scores of queries and documents, against sentence-transformers' models of the same files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers

from jaxbert.errors import UserError
from jaxbert.experiment.comparison import comparison_of
from jaxbert.experiment.inference import reading_of, ready, section_of
from jaxbert.families import preset
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import DenseLayer, Head, Splade
from jaxbert.text.training import train_wordpiece

WORDS = ["moon", "far", "near", "tree", "green", "cat", "dog", "old", "house", "river"]
QUERIES = ["far moon", "old", "the green tree near the house, far from the river"]
DOCUMENTS = ["the moon is far.", "", "a dog, a cat: an old house", "tree " * 20, "river"]
PROMPTS: dict[str, Any] = {"prompts": {"query": "moon ", "document": "cat "}}
SIDES = PROMPTS | {"query_length": 8, "document_length": 24, "skiplist_words": [",", "."]}


def saved(head: Head, directory: Path, prompts: dict[str, Any]) -> Path:
    tokenizer = train_wordpiece([" ".join([*WORDS, *[",", ".", ":"]])], 60, min_frequency=1)
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 32}
    encoder = replace(preset("bert-tiny"), initializer_range=0.3, **sizes)
    params = init_params(encoder, head, 1)
    save_params(params, encoder, head, tokenizer, directory, prompts=prompts)
    return directory


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize(
    ("head", "prompts", "theirs"),
    [
        (Head(pooling="mean"), PROMPTS, "SentenceTransformer"),
        (Head(pooling="cls"), PROMPTS | {"similarity_fn_name": "dot"}, "SentenceTransformer"),
        (Head("masked_lm", splade=Splade()), PROMPTS, "SparseEncoder"),
        (
            Head("late_interaction", dense=DenseLayer(8, "identity", bias=False)),
            SIDES,
            "MultiVectorEncoder",
        ),
    ],
    ids=["cosine", "dot", "sparse", "late"],
)
def test_scores_are_those_of_sentence_transformers(
    head: Head, prompts: dict[str, Any], theirs: str, tmp_path: Path
):
    directory = saved(head, tmp_path / "model", prompts)
    model = ready(directory, batch_size=8)
    comparison = comparison_of(model, section_of(model), reading_of(model))
    made = comparison.queries(QUERIES), comparison.documents(DOCUMENTS)
    found = np.asarray(comparison.scores(*made))
    other = getattr(sentence_transformers, theirs)(str(directory), device="cpu")
    expected = other.similarity(other.encode_query(QUERIES), other.encode_document(DOCUMENTS))
    expected = np.asarray(expected.to_dense() if expected.is_sparse else expected)
    assert found.shape == expected.shape == (3, 5)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_a_similarity_that_is_another_is_refused(tmp_path: Path):
    prompts = PROMPTS | {"similarity_fn_name": "cosine"}
    model = ready(saved(Head("masked_lm", splade=Splade()), tmp_path / "model", prompts))
    with pytest.raises(UserError, match="similarity_fn_name='cosine': expected dot"):
        comparison_of(model, section_of(model), reading_of(model))


def test_what_compares_nothing_is_refused(tmp_path: Path):
    model = ready(saved(Head("sequence_classification", ("a", "b")), tmp_path / "model", {}))
    with pytest.raises(UserError, match="task is sequence_classification, and retrieval compares"):
        comparison_of(model, section_of(model), reading_of(model))
