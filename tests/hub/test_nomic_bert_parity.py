"""What NomicBERT alone has, against transformers' classes in PyTorch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from there_and_back import assert_bfloat16_deviates_no_more_than_pytorchs, assert_there_and_back
from torch_models import as_torch, make_batch, make_torch_model

from jaxbert.errors import UserError
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import save_pretrained
from jaxbert.tree import flat

OPTIONS: dict[str, dict[str, Any]] = {
    "untied": {"tie_word_embeddings": False},
    "another base and gate": {
        "hidden_act": "gelu",
        "rope_parameters": {"rope_type": "default", "rope_theta": 30.0},
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_pytorch(options: dict[str, Any], tmp_path: Path):
    assert_there_and_back("NomicBertForMaskedLM", tmp_path, **options)


@pytest.mark.parametrize("head", ["MaskedLM", "TokenClassification"])
def test_nomicberts_bfloat16_deviates_no_more_than_pytorchs_own(head: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(f"NomicBertFor{head}", tmp_path)


def assert_same_params(found: Any, expected: Any) -> None:
    assert found.fresh == found.unused == ()
    assert flat(found.params).keys() == flat(expected.params).keys()
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(found.params)[path], value, err_msg=path)


@pytest.mark.parametrize("architecture", ["NomicBertModel", "NomicBertForMaskedLM"])
def test_files_in_the_names_of_transformers_modules_are_the_same_model(
    architecture: str, tmp_path: Path
):
    model = make_torch_model(architecture)
    model.save_pretrained(tmp_path)
    assert any("Wqkv" in key for key in load_file(tmp_path / "model.safetensors"))
    expected = load_params(tmp_path)
    model.save_pretrained(tmp_path, save_original_format=False)
    tensors = load_file(tmp_path / "model.safetensors")
    assert any("q_proj" in key for key in tensors)
    assert_same_params(load_params(tmp_path), expected)
    *_, lost = (key for key in tensors if key.endswith("k_proj.weight"))
    save_file({key: x for key, x in tensors.items() if key != lost}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"missing .*encoder\.layers\.1\.attn\.Wqkv\.weight"):
        load_params(tmp_path)


def test_the_authors_own_files_are_the_same_model(tmp_path: Path):
    """Under `bert`, with the class and the fields of their code, whose head has no biases."""
    model = make_torch_model("NomicBertForMaskedLM")
    for bias in (model.cls.predictions.bias, model.cls.predictions.transform.dense.bias):
        bias.data.zero_()
    model.save_pretrained(tmp_path)
    expected = load_params(tmp_path)
    tensors = {
        key.replace("nomic_bert.", "bert."): value
        for key, value in load_file(tmp_path / "model.safetensors").items()
        if key not in ("cls.predictions.bias", "cls.predictions.transform.dense.bias")
    }
    words = tensors["bert.embeddings.word_embeddings.weight"]
    save_file(tensors | {"cls.predictions.decoder.weight": words}, tmp_path / "model.safetensors")
    fields = {
        "model_type": "nomic_bert",
        "architectures": ["NomicBertForPreTraining"],
        "vocab_size": 131,
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "n_inner": 36,
        "n_positions": 80,
        "embd_pdrop": 0.2,
        "activation_function": "swiglu",
        "rotary_emb_base": 1000,
        "rotary_scaling_factor": None,
        "mlp_fc1_bias": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(fields))
    found = load_params(tmp_path)
    assert (found.config, found.head) == (expected.config, expected.head)
    assert_same_params(found, expected)


def test_a_sentence_encoder_gives_sentence_transformers_vectors(tmp_path: Path):
    """Transformer, Pooling and Normalize as the directories of nomic-embed-text have them."""
    model = make_torch_model("NomicBertModel")
    model.save_pretrained(tmp_path)
    package, kinds = "sentence_transformers.models.", ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": idx, "name": str(idx), "path": path, "type": package + kind}
        for idx, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    batch = make_batch(3, 17)
    states = model(**as_torch(batch)).last_hidden_state.detach().numpy()
    mask = batch["attention_mask"][..., None]
    means = (states * mask).sum(1) / mask.sum(1)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    ours = from_pretrained(tmp_path)
    np.testing.assert_allclose(ours(**batch).pooled, expected, atol=2e-6)
    save_pretrained(ours, None, tmp_path / "out")
    np.testing.assert_array_equal(
        from_pretrained(tmp_path / "out")(**batch).pooled, ours(**batch).pooled
    )
