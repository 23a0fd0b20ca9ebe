"""What MPNet alone has, against transformers' classes in PyTorch."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from there_and_back import (
    assert_bfloat16_deviates_no_more_than_pytorchs,
    assert_same_outputs,
    assert_there_and_back,
    batch_for,
    our_outputs,
    run_theirs,
)
from torch_models import as_torch, make_torch_model
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import functional
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RelativeBias
from jaxbert.nn.relative_bias import bucket
from jaxbert.tree import flat

WORDS = "mpnet.embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("buckets", "furthest"), [(32, 128), (32, 64), (64, 128), (16, 300), (20, 100), (4, 7)]
)
def test_every_distance_falls_into_transformers_bucket(buckets: int, furthest: int):
    distances = np.arange(-600, 601)
    theirs = MPNetEncoder.relative_position_bucket(torch.from_numpy(-distances), buckets, furthest)
    ours = bucket(distances, RelativeBias(buckets, furthest))
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("MPNetForMaskedLM", {"tie_word_embeddings": False, "hidden_act": "relu"}),
        ("MPNetForSequenceClassification", {"problem_type": "regression", "num_labels": 1}),
    ],
)
def test_other_options_match_pytorch(architecture: str, options: dict[str, Any], tmp_path: Path):
    if "num_labels" in options:
        options = options | {"id2label": {0: "score"}, "label2id": {"score": 0}}
    assert_there_and_back(architecture, tmp_path, **options)


def test_attention_is_pytorchs_with_padding_anywhere(tmp_path: Path):
    model = make_torch_model("MPNetModel")
    model.save_pretrained(tmp_path)
    ids = np.array([[0, 7, 8, 1, 9, 2, 1, 1, 1], [1, 1, 0, 6, 1, 7, 8, 9, 2]], np.int32)
    batch = {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int32)}
    apply, params = functional(from_pretrained(tmp_path))
    capture = ("hidden_states", "attentions")
    found = jax.jit(lambda params: apply(params, **batch, capture=capture))(params)
    with torch.no_grad():
        theirs = model(**as_torch(batch), output_hidden_states=True, output_attentions=True)
    for name in capture:
        for value, expected in zip(getattr(found, name), theirs[name], strict=True):
            np.testing.assert_allclose(value, expected.numpy(), atol=2e-5)


def test_rows_longer_than_the_buckets_match_pytorch(tmp_path: Path):
    """Distances to 298, where from 91 on all share a bucket; by head, as CPUs compute long rows."""
    model = make_torch_model("MPNetModel", max_position_embeddings=301, num_attention_heads=12)
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    batch = batch_for("none", ours, 2, 299)
    apply, params = functional(ours)
    found = jax.jit(lambda params: apply(params, **batch, capture=("hidden_states",)))(params)
    with torch.no_grad():
        theirs = run_theirs(model, batch)
    assert_same_outputs(our_outputs(found), theirs, batch["attention_mask"].astype(bool))


@pytest.mark.parametrize("architecture", ["MPNetForMaskedLM", "MPNetForSequenceClassification"])
def test_mpnets_bfloat16_deviates_no_more_than_pytorchs_own(architecture: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(architecture, tmp_path)


def test_every_spelling_of_a_checkpoint_gives_the_same_parameters(tmp_path: Path):
    make_torch_model("MPNetForMaskedLM").save_pretrained(tmp_path)
    expected = load_params(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {key.removeprefix("mpnet."): value for key, value in tensors.items()}
    old["lm_head.decoder.weight"] = tensors[WORDS]
    old["lm_head.decoder.bias"] = tensors["lm_head.bias"]
    old["embeddings.position_ids"] = np.arange(82)[None]
    old["pooler.dense.weight"] = np.zeros((24, 24), np.float32)
    save_file(old, tmp_path / "model.safetensors")
    loaded = load_params(tmp_path)
    assert (loaded.fresh, loaded.unused) == ((), ("pooler.dense.weight",))
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(loaded.params)[path], value)


def as_all_mpnet(directory: Path) -> Any:
    """The files of sentence-transformers/all-mpnet-base-v2: a bare encoder under the name of the
    masked LM that it was made of."""
    model = make_torch_model("MPNetModel")
    model.save_pretrained(directory)
    file = directory / "config.json"
    fields = json.loads(file.read_text()) | {"architectures": ["MPNetForMaskedLM"]}
    file.write_text(json.dumps(fields))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{name}": name == "mean_tokens" for name in ("cls_token", "mean_tokens")}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return model


def test_a_sentence_encoder_under_the_name_of_a_masked_lm_is_one(tmp_path: Path):
    model, head = as_all_mpnet(tmp_path / "theirs"), Head(pooling="mean", is_normalized=True)
    loaded = load_params(tmp_path / "theirs")
    assert (loaded.head, loaded.fresh) == (head, ())
    save_params(loaded.params, loaded.config, head, None, tmp_path / "ours")
    fields = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert fields["architectures"] == ["MPNetModel"]

    ids = np.array([[0, 7, 8, 9, 10, 2], [0, 6, 2, 1, 1, 1]], np.int32)
    mask = (ids != 1).astype(np.int32)
    with torch.no_grad():
        states = model(**as_torch({"input_ids": ids, "attention_mask": mask})).last_hidden_state
    sums = (states.numpy() * mask[..., None]).sum(axis=1)
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    for directory in ("theirs", "ours"):
        apply, params = functional(from_pretrained(tmp_path / directory))
        found = jax.jit(lambda params, apply=apply: apply(params, ids, mask).pooled)(params)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_masked_lm_that_is_asked_for_is_none_of_the_modules(tmp_path: Path):
    as_all_mpnet(tmp_path)
    loaded = load_params(tmp_path, head="masked_lm")
    assert loaded.head == Head("masked_lm")
    assert {path.partition("/")[0] for path in loaded.fresh} == {"masked_lm"}
