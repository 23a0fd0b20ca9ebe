"""What DistilBERT alone has, against transformers' classes in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from there_and_back import assert_bfloat16_deviates_no_more_than_pytorchs, assert_there_and_back
from torch_models import make_torch_model

from jaxbert.hub.load import load_params
from jaxbert.tree import flat

WORDS = "distilbert.embeddings.word_embeddings.weight"


def test_an_output_projection_of_its_own_survives(tmp_path: Path):
    ours = assert_there_and_back("DistilBertForMaskedLM", tmp_path, tie_word_embeddings=False)
    assert not ours.config.tie_word_embeddings


def test_another_activation_matches_pytorch(tmp_path: Path):
    assert_there_and_back("DistilBertForMaskedLM", tmp_path, activation="relu")


def test_every_spelling_of_a_checkpoint_gives_the_same_parameters(tmp_path: Path):
    make_torch_model("DistilBertForMaskedLM").save_pretrained(tmp_path)
    expected = load_params(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {key.removeprefix("distilbert."): value for key, value in tensors.items()}
    old["vocab_projector.weight"] = tensors[WORDS]
    old["embeddings.position_ids"] = np.arange(80)[None]
    save_file(old, tmp_path / "model.safetensors")
    loaded = load_params(tmp_path)
    assert loaded.fresh == loaded.unused == ()
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(loaded.params)[path], value)


def test_multiple_choice_goes_on_with_the_dense_layer_of_a_classifier(tmp_path: Path):
    make_torch_model("DistilBertForSequenceClassification").save_pretrained(tmp_path)
    loaded = load_params(tmp_path, head="multiple_choice")
    assert set(loaded.fresh) == {"classifier/dense/kernel", "classifier/dense/bias"}


@pytest.mark.parametrize(
    "architecture", ["DistilBertForMaskedLM", "DistilBertForSequenceClassification"]
)
def test_distilberts_bfloat16_deviates_no_more_than_pytorchs_own(architecture: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(architecture, tmp_path)
