"""What GTE alone has, against transformers' classes in PyTorch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from there_and_back import assert_bfloat16_deviates_no_more_than_pytorchs, assert_there_and_back
from torch_models import make_torch_model

from jaxbert.hub.load import load_params
from jaxbert.tree import flat

OPTIONS: dict[str, dict[str, Any]] = {
    "untied": {"tie_word_embeddings": False},
    "no sentence types, another gate, plain positions": {
        "type_vocab_size": 0,
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 30.0},
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_pytorch(options: dict[str, Any], tmp_path: Path):
    assert_there_and_back("GteForMaskedLM", tmp_path, **options)


@pytest.mark.parametrize("head", ["MaskedLM", "TokenClassification"])
def test_gtes_bfloat16_deviates_no_more_than_pytorchs_own(head: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(f"GteFor{head}", tmp_path)


def assert_same_params(found: Any, expected: Any) -> None:
    assert found.fresh == found.unused == ()
    assert flat(found.params).keys() == flat(expected.params).keys()
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(found.params)[path], value, err_msg=path)


def test_files_in_the_names_of_transformers_modules_are_the_same_model(tmp_path: Path):
    model = make_torch_model("GteForSequenceClassification")
    model.save_pretrained(tmp_path)
    assert any("up_gate_proj" in key for key in load_file(tmp_path / "model.safetensors"))
    expected = load_params(tmp_path)
    model.save_pretrained(tmp_path, save_original_format=False)
    assert any("mlp.gate_proj" in key for key in load_file(tmp_path / "model.safetensors"))
    assert_same_params(load_params(tmp_path), expected)


@pytest.mark.parametrize("head", ["MaskedLM", "SequenceClassification"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_authors_own_files_are_the_same_model(head: str, packed: bool, tmp_path: Path):
    """Under `new`, with the classes and the fields of their code, and `pack_qkv` or not."""
    make_torch_model(f"GteFor{head}").save_pretrained(tmp_path)
    expected = load_params(tmp_path)
    tensors = {
        f"new.{key.removeprefix('gte.')}" if key.startswith("gte.") else key: value
        for key, value in load_file(tmp_path / "model.safetensors").items()
    }
    for key in [key for key in tensors if "qkv_proj" in key and not packed]:
        for name, part in zip("qkv", np.split(tensors.pop(key), 3), strict=True):
            tensors[key.replace("qkv", name)] = part
    save_file(tensors, tmp_path / "model.safetensors")
    fields = json.loads((tmp_path / "config.json").read_text())
    fields |= {"model_type": "new", "architectures": [f"NewFor{head}"], "rope_theta": 500.0}
    fields["auto_map"] = {"AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel"}
    # Heads of 8: the authors' factor s divides positions by s^(2 / 8).
    fields["rope_scaling"] = {"type": "ntk", "factor": 1.5**4}
    fields["rope_theta"] = 500.0 / 1.5**4
    del fields["rope_parameters"]
    (tmp_path / "config.json").write_text(json.dumps(fields))
    found = load_params(tmp_path)
    assert (found.config, found.head) == (expected.config, expected.head)
    assert_same_params(found, expected)
