"""What ELECTRA alone has, against transformers' classes in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from there_and_back import assert_bfloat16_deviates_no_more_than_pytorchs, assert_there_and_back
from torch_models import make_torch_model

from jaxbert.hub.load import load_params
from jaxbert.tree import flat

WORDS = "electra.embeddings.word_embeddings.weight"


def test_embeddings_as_wide_as_the_layers_are_not_projected(tmp_path: Path):
    ours = assert_there_and_back("ElectraForPreTraining", tmp_path, embedding_size=24)
    assert not ours.config.projects_embeddings


def test_an_output_projection_of_its_own_survives(tmp_path: Path):
    ours = assert_there_and_back("ElectraForMaskedLM", tmp_path, tie_word_embeddings=False)
    assert not ours.config.tie_word_embeddings


def test_the_activation_of_the_summary_is_the_configurations(tmp_path: Path):
    options = {"summary_activation": "tanh", "summary_last_dropout": 0.2}
    ours = assert_there_and_back("ElectraForMultipleChoice", tmp_path, **options)
    assert ours.pooler.activation == "tanh"


def test_every_spelling_of_a_generator_gives_the_same_parameters(tmp_path: Path):
    make_torch_model("ElectraForMaskedLM").save_pretrained(tmp_path)
    expected = load_params(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {key.removeprefix("electra."): value for key, value in tensors.items()}
    old["generator_lm_head.weight"] = tensors[WORDS]
    old["embeddings.position_ids"] = np.arange(80)[None]
    save_file(old, tmp_path / "model.safetensors")
    loaded = load_params(tmp_path)
    assert (loaded.fresh, loaded.unused) == ((), ())
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(loaded.params)[path], value)


def test_a_classifier_starts_from_a_discriminators_encoder_alone(tmp_path: Path):
    make_torch_model("ElectraForPreTraining").save_pretrained(tmp_path)
    loaded = load_params(tmp_path, head="sequence_classification", labels=["a", "b"])
    modules = {path.rpartition("/")[0] for path in loaded.fresh}
    assert modules == {"pooler/dense", "classifier/dense"}
    assert {key.partition(".")[0] for key in loaded.unused} == {"discriminator_predictions"}


def test_a_classifier_for_other_labels_keeps_its_dense_layer(tmp_path: Path):
    make_torch_model("ElectraForSequenceClassification").save_pretrained(tmp_path)
    loaded = load_params(tmp_path, labels=["a", "b"], ignore_mismatched_heads=True)
    assert set(loaded.fresh) == {"classifier/dense/kernel", "classifier/dense/bias"}


@pytest.mark.parametrize("architecture", ["ElectraForPreTraining", "ElectraForTokenClassification"])
def test_electras_bfloat16_deviates_no_more_than_pytorchs_own(architecture: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(architecture, tmp_path)
