"""A tiny ALBERT learns words and the order of sentences; transformers opens what comes out."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from experiment.small_runs import ADJECTIVES, ANIMALS, THINGS, VERBS, trajectory
from transformers import AlbertForPreTraining

from jaxbert.config import parse_config
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import evaluate_masked_lm, masked_lm_data
from jaxbert.experiment.pretrain import Pretrain, pretrain
from jaxbert.hub.load import from_pretrained

TINY = {
    "hidden_size": 32,
    "embedding_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of two sentences; a word in each says which one is the first."""
    generator, directory = random.Random(0), tmp_path_factory.mktemp("ordered")

    def sentence(when: str) -> str:
        animal, verb = generator.choice(ANIMALS), generator.choice(VERBS)
        adjective, thing = generator.choice(ADJECTIVES), generator.choice(THINGS)
        return f"The {when} {animal} {verb} the {adjective} {thing}."

    documents = [f"{sentence('early')} {sentence('late')}" for _ in range(200)]
    (directory / "corpus.txt").write_text("\n\n".join(documents) + "\n")
    options = PrepareOptions(vocab_size=120, processes=1)
    prepare([str(directory / "corpus.txt")], directory / "store", options)
    return directory / "store"


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {
        "store": str(store),
        "model": {"preset": "albert-base-v2", "overrides": TINY},
        "num_steps": 60,
        "batch_size": 32,
        "data": {
            "max_seq_length": 32,
            "sentence_pairs": "sentence_order",
            "validation_fraction": 0.2,
        },
        "optimizer": {"learning_rate": 1e-2},
        "loop": {"log_every": 1, "checkpoint_every": None},
    }
    directory = tmp_path_factory.mktemp("albert") / "run"
    pretrain(parse_config(Pretrain, values), directory, quiet=True)
    return directory


def test_words_and_the_order_of_sentences_are_learnt(run: Path):
    rows = [row for row in trajectory(run) if "loss" in row]
    for name, share in (("masked_lm_loss", 0.6), ("sentence_order_loss", 0.5)):
        losses = [row[name] for row in rows]
        assert np.mean(losses[-10:]) < share * np.mean(losses[:3]), name


def test_the_order_is_evaluated_by_its_name_with_the_run_and_without(
    run: Path, store: Path, tmp_path: Path
):
    shutil.copytree(run / "model", tmp_path / "model")
    for model in (run, tmp_path / "model"):
        opened = ready(model)
        found = evaluate_masked_lm(opened, masked_lm_data(opened, str(store)))
        assert found["sentence_order_accuracy"] > 0.8
        assert not [name for name in found if name.startswith("next_sentence")]


def test_transformers_opens_the_exported_albert_as_the_same_model(run: Path):
    theirs, report = AlbertForPreTraining.from_pretrained(run / "model", output_loading_info=True)
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[fault]
    ids = np.random.default_rng(0).integers(5, 60, (3, 20))
    types = np.broadcast_to(np.arange(20) > 9, ids.shape).astype(np.int32)
    ours = from_pretrained(run / "model")(ids, token_type_ids=types)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids), token_type_ids=torch.from_numpy(types).long())
    for value, reference in (
        (ours.logits, expected.prediction_logits),
        (ours.seq_relationship_logits, expected.sop_logits),
    ):
        largest = max(1.0, float(reference.abs().max()))
        np.testing.assert_allclose(value, reference.numpy(), atol=2e-5 * largest)
