"""What ALBERT alone has, against transformers' classes in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from there_and_back import assert_bfloat16_deviates_no_more_than_pytorchs, assert_there_and_back
from torch_models import make_torch_model

from jaxbert.hub.load import load_params
from jaxbert.tree import flat

WORDS = "albert.embeddings.word_embeddings.weight"


def test_embeddings_as_wide_as_the_layers_are_projected_too(tmp_path: Path):
    ours = assert_there_and_back("AlbertForMaskedLM", tmp_path, embedding_size=24)
    assert ours.encoder.embeddings.projection.kernel.shape == (24, 24)


def test_all_layers_may_share_one_set_of_parameters(tmp_path: Path):
    options = {"num_hidden_groups": 1, "hidden_act": "gelu", "classifier_dropout_prob": 0.0}
    ours = assert_there_and_back("AlbertForSequenceClassification", tmp_path, **options)
    assert len(ours.encoder.layers) == 1


def test_no_layers_may_share_and_the_output_projection_be_its_own(tmp_path: Path):
    options = {"num_hidden_layers": 2, "num_hidden_groups": 2, "tie_word_embeddings": False}
    ours = assert_there_and_back("AlbertForPreTraining", tmp_path, **options)
    assert not ours.config.tie_word_embeddings


def test_every_spelling_of_a_checkpoint_gives_the_same_parameters(tmp_path: Path):
    make_torch_model("AlbertForMaskedLM").save_pretrained(tmp_path)
    expected = load_params(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {key.removeprefix("albert."): value for key, value in tensors.items()}
    old["predictions.decoder.weight"] = tensors[WORDS]
    old["predictions.decoder.bias"] = tensors["predictions.bias"]
    old["embeddings.position_ids"] = np.arange(80)[None]
    # What the files on the Hub hold beside their masked LM.
    others = {"pooler.weight": (24, 24), "pooler.bias": (24,), "sop_classifier.classifier.bias": 2}
    old |= {name: np.zeros(shape, np.float32) for name, shape in others.items()}
    save_file(old, tmp_path / "model.safetensors")
    loaded = load_params(tmp_path)
    assert (loaded.fresh, set(loaded.unused)) == ((), set(others))
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(loaded.params)[path], value)


@pytest.mark.parametrize(
    "architecture", ["AlbertForPreTraining", "AlbertForSequenceClassification"]
)
def test_alberts_bfloat16_deviates_no_more_than_pytorchs_own(architecture: str, tmp_path: Path):
    # All layers shared, as in the published models.
    assert_bfloat16_deviates_no_more_than_pytorchs(architecture, tmp_path, num_hidden_groups=1)
