"""What RoBERTa alone has, against transformers' classes in PyTorch."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from there_and_back import (
    assert_bfloat16_deviates_no_more_than_pytorchs,
    assert_there_and_back,
    our_outputs,
    run_theirs,
)
from torch_models import as_torch, make_batch, make_torch_model

from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.nn.dropout_rates import DropoutConfig, with_dropout
from jaxbert.nn.functional import make_apply
from jaxbert.tree import flat


def test_an_output_projection_of_its_own_survives(tmp_path: Path):
    ours = assert_there_and_back("RobertaForMaskedLM", tmp_path, tie_word_embeddings=False)
    assert not ours.config.tie_word_embeddings


def test_the_bias_of_an_untied_projection_may_lie_under_its_other_name(tmp_path: Path):
    make_torch_model("RobertaForMaskedLM", tie_word_embeddings=False).save_pretrained(tmp_path)
    expected = flat(load_params(tmp_path).params)["masked_lm/bias"]
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.bias"] = tensors.pop("lm_head.decoder.bias")
    save_file(tensors, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(flat(load_params(tmp_path).params)["masked_lm/bias"], expected)


def test_other_padding_and_two_sentence_types_match_pytorch(tmp_path: Path):
    options = {"pad_token_id": 3, "type_vocab_size": 2}
    ours = assert_there_and_back("RobertaForSequenceClassification", tmp_path, **options)
    assert (ours.config.pad_token_id, ours.config.type_vocab_size) == (3, 2)


def test_positions_count_tokens_wherever_the_padding_stands(tmp_path: Path):
    model = make_torch_model("RobertaModel")
    model.save_pretrained(tmp_path)
    ids = np.array([[1, 1, 7, 8, 9, 1], [5, 1, 6, 1, 7, 8]], np.int32)
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    found = our_outputs(from_pretrained(tmp_path)(**batch))
    with torch.no_grad():
        theirs = run_theirs(model, batch)
    np.testing.assert_allclose(found["pooled"], theirs["pooled"].numpy(), atol=2e-5)


def test_a_model_of_one_sentence_type_has_no_use_for_types(tmp_path: Path):
    make_torch_model("RobertaModel").save_pretrained(tmp_path)
    model = from_pretrained(tmp_path)
    ids = np.array([[5, 6, 7, 8]], np.int32)
    types = np.array([[0, 0, 1, 1]], np.int32)
    np.testing.assert_array_equal(model(ids, token_type_ids=types).pooled, model(ids).pooled)


@pytest.mark.parametrize("architecture", ["RobertaForMaskedLM", "RobertaPreLayerNormForMaskedLM"])
def test_every_spelling_of_a_checkpoint_gives_the_same_parameters(
    architecture: str, tmp_path: Path
):
    model = make_torch_model(architecture)
    model.save_pretrained(tmp_path)
    prefix, expected = f"{model.base_model_prefix}.", load_params(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta")
        .removeprefix(prefix): value
        for key, value in tensors.items()
    }
    old["lm_head.decoder.weight"] = tensors[f"{prefix}embeddings.word_embeddings.weight"]
    old["lm_head.decoder.bias"] = tensors["lm_head.bias"]
    old["embeddings.position_ids"] = np.arange(82)[None]
    # What the files of FacebookAI hold beside their masked LM.
    old["pooler.dense.weight"] = np.zeros((24, 24), np.float32)
    save_file(old, tmp_path / "model.safetensors")
    loaded = load_params(tmp_path)
    assert (loaded.fresh, loaded.unused) == ((), ("pooler.dense.weight",))
    for path, value in flat(expected.params).items():
        np.testing.assert_array_equal(flat(loaded.params)[path], value)


@pytest.mark.parametrize("architecture", ["RobertaPreLayerNormModel", "XLMRobertaXLModel"])
def test_dropout_behind_feed_forward_networks_is_where_pytorch_has_it(
    architecture: str, tmp_path: Path
):
    """XLM-R XL has none there."""
    model = make_torch_model(architecture)
    model.save_pretrained(tmp_path)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout):
            is_elsewhere = "attention" in name or "embeddings" in name
            module.p = 0.0 if is_elsewhere else 0.9
    batch = make_batch(2, 9, num_types=1)
    still, moved = (model.train(mode)(**as_torch(batch)).pooler_output for mode in (False, True))
    theirs_moves = not torch.allclose(still, moved)

    loaded = load_params(tmp_path)
    rates = DropoutConfig(hidden=0.9, embeddings=0.0, attention=0.0, attention_output=0.0)
    apply = make_apply(with_dropout(loaded.config, rates), loaded.head)
    still, moved = (
        apply(loaded.params, **batch, key=key).pooled for key in (None, jax.random.key(0))
    )
    assert (not np.allclose(still, moved)) == theirs_moves
    assert theirs_moves == (architecture != "XLMRobertaXLModel")


@pytest.mark.parametrize("architecture", ["RobertaForMaskedLM", "XLMRobertaModel"])
def test_a_new_classifier_takes_nothing_from_the_pooler(architecture: str, tmp_path: Path):
    make_torch_model(architecture).save_pretrained(tmp_path)
    loaded = load_params(tmp_path, head="sequence_classification", labels=["a", "b"])
    paths = ("pooler/dense/kernel", "pooler/dense/bias")
    assert set(loaded.fresh) == {*paths, "classifier/dense/kernel", "classifier/dense/bias"}


def test_a_classifier_for_other_labels_keeps_its_dense_layer(tmp_path: Path):
    make_torch_model("RobertaForSequenceClassification").save_pretrained(tmp_path)
    loaded = load_params(tmp_path, labels=["a", "b"], ignore_mismatched_heads=True)
    assert set(loaded.fresh) == {"classifier/dense/kernel", "classifier/dense/bias"}


@pytest.mark.parametrize("architecture", ["RobertaForMaskedLM", "RobertaForSequenceClassification"])
def test_robertas_bfloat16_deviates_no_more_than_pytorchs_own(architecture: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(architecture, tmp_path)
