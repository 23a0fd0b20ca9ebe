"""What DeBERTa alone has, against transformers' classes in PyTorch."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from there_and_back import (
    assert_bfloat16_deviates_no_more_than_pytorchs,
    assert_there_and_back,
    batch_for,
    run_theirs,
)
from torch_models import as_torch, make_torch_model
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.nn.functional import functional
from jaxbert.nn.parts import RelativeAttention
from jaxbert.nn.relative import log_bucket
from jaxbert.tree import flat

# Every published model has 256 buckets for 512 positions; the others are what people train.
BUCKETS = [(256, 512), (256, 128), (256, 1024), (256, 2048), (320, 512), (128, 512), (64, 256)]
BUCKETS += [(32, 512), (32, 128), (48, 99), (9, 40), (8, 80), (7, 33), (4, 16), (3, 9), (2, 20)]

VERSION_3 = {
    "type_vocab_size": 0,
    "position_biased_input": False,
    "share_att_key": True,
    "conv_kernel_size": 0,
    "pos_att_type": "p2c|c2p",
}


@pytest.mark.parametrize(("buckets", "furthest"), BUCKETS)
def test_every_distance_falls_into_transformers_bucket(buckets: int, furthest: int):
    # Beyond the last position where it is in steps; where it is not, there is nothing beyond.
    last = 3 * furthest if furthest - 1 > buckets // 2 else furthest - 1
    distances = np.arange(-last, last + 1)
    theirs = make_log_bucket_position(torch.from_numpy(distances), buckets, furthest).long()
    ours = log_bucket(distances, RelativeAttention(buckets, furthest))
    np.testing.assert_array_equal(ours, theirs.numpy())


ABSOLUTE = {"relative_attention": False, "pos_att_type": None, "norm_rel_ebd": "none"}
OPTIONS: dict[str, dict[str, Any]] = {
    "version 3": VERSION_3,
    "every position its own": {"position_buckets": -1, "max_relative_positions": 20},
    "content to position, newer masked LM": {
        "pos_att_type": ["c2p"],
        "norm_rel_ebd": "none",
        "legacy": False,
    },
    "position to content": VERSION_3 | {"pos_att_type": ["p2c"]},
    "neither, wide convolution": VERSION_3
    | {"pos_att_type": None, "conv_kernel_size": 5, "conv_act": "gelu", "hidden_act": "gelu_new"},
    "absolute positions, own output projection": ABSOLUTE | {"tie_word_embeddings": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_pytorch(options: dict[str, Any], tmp_path: Path):
    assert_there_and_back("DebertaV2ForMaskedLM", tmp_path, **options)


def test_another_pooler_matches_pytorch(tmp_path: Path):
    options = VERSION_3 | {"pooler_hidden_act": "tanh"}
    assert_there_and_back("DebertaV2ForSequenceClassification", tmp_path, **options)


@pytest.mark.parametrize("relative", [True, False])
def test_padding_and_attention_are_pytorchs_everywhere(relative: bool, tmp_path: Path):
    options = {} if relative else ABSOLUTE
    model = make_torch_model("DebertaV2Model", **options)
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    batch = batch_for("none", ours, 3, 11)
    apply, params = functional(ours)
    capture = ("hidden_states", "attentions")
    found = jax.jit(lambda p, batch: apply(p, **batch, capture=capture))(params, batch)
    with torch.no_grad():
        theirs = model(**as_torch(batch), output_hidden_states=True, output_attentions=True)
    for name in capture:
        for value, expected in zip(getattr(found, name), theirs[name], strict=True):
            np.testing.assert_allclose(value, expected.numpy(), atol=2e-5)


def test_rows_longer_than_the_buckets_match_pytorch(tmp_path: Path):
    """Farther apart than max_relative_positions, which is fewer than the positions."""
    options = VERSION_3 | {"max_relative_positions": 12}
    model = make_torch_model("DebertaV2Model", **options)
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    batch = batch_for("none", ours, 2, 80)
    found = ours(**batch).last_hidden_state
    with torch.no_grad():
        theirs = run_theirs(model, batch)["layer 2"]
    is_real = batch["attention_mask"].astype(bool)
    np.testing.assert_allclose(found[is_real], theirs.numpy()[is_real], atol=2e-5)


def as_microsofts(file: Path) -> None:
    """The names that the files of Microsoft hold beside the encoder."""
    tensors = load_file(file)
    head = {key: value for key, value in tensors.items() if key.startswith("cls.")}
    tensors = {key: value for key, value in tensors.items() if key not in head}
    for key, value in head.items():
        key = key.replace("cls.predictions.", "lm_predictions.lm_head.").replace("transform.", "")
        tensors[key] = value
    square = np.zeros((24, 24), np.float32)
    tensors |= {f"mask_predictions.{name}.weight": square for name in ("dense", "classifier")}
    tensors["deberta.embeddings.position_embeddings.weight"] = np.zeros((80, 24), np.float32)
    tensors["deberta.embeddings.position_ids"] = np.arange(80)[None]
    save_file(tensors, file)


def test_microsofts_files_give_the_encoder_and_say_what_is_not_used(tmp_path: Path):
    make_torch_model("DebertaV2ForMaskedLM", **VERSION_3).save_pretrained(tmp_path)
    expected = flat(load_params(tmp_path).params)
    as_microsofts(tmp_path / "model.safetensors")
    loaded = load_params(tmp_path, head="sequence_classification", labels=["a", "b"])
    assert {path.split("/")[0] for path in loaded.fresh} == {"pooler", "classifier"}
    assert {name.split(".")[0] for name in loaded.unused} == {
        "deberta",
        "lm_predictions",
        "mask_predictions",
    }
    for path, value in flat(loaded.params).items():
        if path.startswith("encoder/"):
            np.testing.assert_array_equal(value, expected[path])
    # As in transformers, which reads Microsoft's head only where config.json asks for it.
    assert load_params(tmp_path, head="masked_lm").fresh


def test_microsofts_head_is_read_where_config_json_asks_for_it(tmp_path: Path):
    model = make_torch_model("DebertaV2ForMaskedLM", legacy=False, **VERSION_3)
    model.save_pretrained(tmp_path)
    loaded = load_params(tmp_path)
    assert (loaded.fresh, loaded.config.heads.legacy) == ((), False)
    expected = model.lm_predictions.lm_head.dense.weight.detach().numpy().T
    np.testing.assert_array_equal(loaded.params["masked_lm"]["dense"]["kernel"], expected)


@pytest.mark.parametrize("head", ["MaskedLM", "TokenClassification"])
def test_debertas_bfloat16_deviates_no_more_than_pytorchs_own(head: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(f"DebertaV2For{head}", tmp_path)
