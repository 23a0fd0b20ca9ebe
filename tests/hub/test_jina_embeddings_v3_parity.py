"""What Jina Embeddings v3 alone has, against transformers' classes in PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from there_and_back import assert_there_and_back
from torch_models import make_torch_model

from jaxbert.hub.load import load_params
from jaxbert.tree import flat


def test_other_options_match_pytorch(tmp_path: Path):
    options: dict[str, Any] = {
        "tie_word_embeddings": False,
        "hidden_act": "gelu_new",
        "type_vocab_size": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 30.0},
    }
    ours = assert_there_and_back("JinaEmbeddingsV3ForMaskedLM", tmp_path, **options)
    assert not ours.config.tie_word_embeddings


@pytest.mark.parametrize("architecture", ["JinaEmbeddingsV3Model", "JinaEmbeddingsV3ForMaskedLM"])
def test_files_in_the_names_of_transformers_modules_are_the_same_model(
    architecture: str, tmp_path: Path
):
    model = make_torch_model(architecture)
    model.save_pretrained(tmp_path)
    assert any("mixer.Wqkv" in key for key in load_file(tmp_path / "model.safetensors"))
    expected = flat(load_params(tmp_path).params)
    model.save_pretrained(tmp_path, save_original_format=False)
    assert any("self_attn.q_proj" in key for key in load_file(tmp_path / "model.safetensors"))
    loaded = load_params(tmp_path)
    assert loaded.fresh == loaded.unused == ()
    found = flat(loaded.params)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)
