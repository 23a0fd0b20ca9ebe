"""What the first DeBERTa alone has, against transformers' classes in PyTorch."""

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
)
from torch_models import as_torch, make_torch_model

from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import functional
from jaxbert.tree import flat

PUBLISHED: dict[str, Any] = {
    "type_vocab_size": 0,
    "position_biased_input": False,
    "max_relative_positions": -1,
    "pos_att_type": "c2p|p2c",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "as published, newer masked LM": PUBLISHED | {"legacy": False},
    "content to position": {"pos_att_type": ["c2p"], "hidden_act": "gelu_new"},
    "position to content": PUBLISHED | {"pos_att_type": ["p2c"]},
    "neither": {"pos_att_type": None},
    "absolute positions, own output projection": {
        "relative_attention": False,
        "pos_att_type": None,
        "tie_word_embeddings": False,
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_pytorch(options: dict[str, Any], tmp_path: Path):
    assert_there_and_back("DebertaForMaskedLM", tmp_path, num_hidden_layers=1, **options)


@pytest.mark.parametrize("relative", [True, False])
def test_padding_and_attention_are_pytorchs_everywhere(relative: bool, tmp_path: Path):
    """In rows longer than max_relative_positions, behind which all distances are one."""
    options = {"max_relative_positions": 4} if relative else OPTIONS[[*OPTIONS][-1]]
    model = make_torch_model("DebertaModel", **options)
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


def as_microsofts(file: Path) -> None:
    """The masked LM's names in Microsoft's files, which are in 16 bits, and the mask decoder's."""
    tensors = load_file(file)
    renamed = {
        key.replace("cls.predictions.", "lm_predictions.lm_head.").replace("transform.", ""): value
        for key, value in tensors.items()
    }
    renamed["deberta.embeddings.position_embeddings.weight"] = np.zeros((80, 24), np.float32)
    save_file({key: value.astype(np.float16) for key, value in renamed.items()}, file)


def test_microsofts_files_give_the_encoder_and_say_what_is_not_used(tmp_path: Path):
    make_torch_model("DebertaForMaskedLM", **PUBLISHED).save_pretrained(tmp_path)
    expected = flat(load_params(tmp_path).params)
    as_microsofts(tmp_path / "model.safetensors")
    loaded = load_params(tmp_path, head="sequence_classification", labels=["a", "b"])
    assert {path.split("/")[0] for path in loaded.fresh} == {"pooler", "classifier"}
    assert {name.split(".")[0] for name in loaded.unused} == {"deberta", "lm_predictions"}
    for path, value in flat(loaded.params).items():
        if path.startswith("encoder/"):
            np.testing.assert_allclose(value, expected[path], atol=1e-3)
    # As in transformers, which reads Microsoft's head only where config.json asks for it.
    assert load_params(tmp_path, head="masked_lm").fresh


def test_queries_keys_and_values_of_a_head_lie_together_in_the_file(tmp_path: Path):
    make_torch_model("DebertaModel").save_pretrained(tmp_path / "theirs")
    loaded = load_params(tmp_path / "theirs")
    attention = loaded.params["encoder"]["layers"]["1"]["attention"]
    save_params(loaded.params, loaded.config, loaded.head, None, tmp_path / "ours")
    tensor = load_file(tmp_path / "ours" / "model.safetensors")[
        "encoder.layer.1.attention.self.in_proj.weight"
    ]
    for head in range(3):
        for place, name in enumerate(("query", "key", "value")):
            rows = tensor[24 * head + 8 * place :][:8]
            kernel = np.asarray(attention[name]["kernel"])
            np.testing.assert_array_equal(rows, kernel[:, 8 * head : 8 * head + 8].T)


def test_bfloat16_deviates_no_more_than_pytorchs_own(tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs("DebertaForTokenClassification", tmp_path)
