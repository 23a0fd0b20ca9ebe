"""What ModernBERT alone has, against transformers' classes in PyTorch."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from there_and_back import (
    assert_bfloat16_deviates_no_more_than_pytorchs,
    assert_same_outputs,
    assert_there_and_back,
    batch_for,
    our_outputs,
    run_theirs,
)
from torch_models import LABELS, make_torch_model
from transformers import AutoConfig, ModernBertConfig
from transformers.models.modernbert.modeling_modernbert import ModernBertRotaryEmbedding

from jaxbert.hub.load import from_pretrained
from jaxbert.hub.save import save_pretrained
from jaxbert.hub.verify import verify
from jaxbert.nn.functional import functional
from jaxbert.nn.head import Head
from jaxbert.nn.rotary import rotation

FULL, LOCAL = "full_attention", "sliding_attention"
BIASES = {f"{name}_bias": True for name in ("norm", "attention", "mlp", "classifier")}
LONG = {"max_position_embeddings": 1003, "local_attention": 64, "num_hidden_layers": 3}

OPTIONS: dict[str, dict[str, Any]] = {
    "every bias": BIASES,
    "no bias, own output projection": {
        "classifier_bias": False,
        "decoder_bias": False,
        "tie_word_embeddings": False,
    },
    "other layers": {
        "layer_types": [LOCAL, FULL, FULL, LOCAL],
        "local_attention": 0,
        "hidden_activation": "silu",
        "classifier_activation": "relu",
        "rope_parameters": {
            FULL: {"rope_type": "default", "rope_theta": 30.0},
            LOCAL: {"rope_type": "default", "rope_theta": 500.0},
        },
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_matches_pytorch(options: dict[str, Any], tmp_path: Path):
    assert_there_and_back("ModernBertForMaskedLM", tmp_path, **options)


@pytest.mark.parametrize("head", ["SequenceClassification", "MultipleChoice"])
def test_mean_pooling_matches_pytorch(head: str, tmp_path: Path):
    options = BIASES | {"classifier_pooling": "mean"}
    assert_there_and_back(f"ModernBertFor{head}", tmp_path, **options)


def test_a_pooling_that_was_asked_for_is_that_of_the_classifier_in_pytorch(tmp_path: Path):
    make_torch_model("ModernBertForSequenceClassification").save_pretrained(tmp_path / "theirs")
    head = Head("sequence_classification", LABELS, pooling="mean")
    model = from_pretrained(tmp_path / "theirs", head=head)
    save_pretrained(model, None, tmp_path / "ours")
    assert verify(model, tmp_path / "ours").is_equivalent
    assert not verify(model, tmp_path / "theirs").is_equivalent


def test_the_config_json_of_transformers_4_is_the_same_model(tmp_path: Path):
    options = {"global_attn_every_n_layers": 2, "global_rope_theta": 50.0, "local_rope_theta": 9.0}
    model = make_torch_model("ModernBertModel", **options)
    model.save_pretrained(tmp_path / "version 5")
    expected = from_pretrained(tmp_path / "version 5")
    file = tmp_path / "version 5" / "config.json"
    fields = json.loads(file.read_text())
    assert fields["layer_types"] == [FULL, LOCAL, FULL, LOCAL]
    for name in ("layer_types", "rope_parameters"):
        del fields[name]
    file.write_text(json.dumps(fields | options))
    assert from_pretrained(tmp_path / "version 5").config == expected.config
    # What we write has the words of both: the newer ones dropped, transformers reads the same.
    save_pretrained(expected, None, tmp_path / "ours")
    file = tmp_path / "ours" / "config.json"
    both = AutoConfig.from_pretrained(tmp_path / "ours")
    fields = json.loads(file.read_text())
    for name in ("layer_types", "rope_parameters"):
        del fields[name]
    file.write_text(json.dumps(fields))
    older = AutoConfig.from_pretrained(tmp_path / "ours")
    assert (older.layer_types, older.rope_parameters) == (both.layer_types, both.rope_parameters)


def test_a_thousand_positions_with_a_narrow_window_match_pytorch(tmp_path: Path):
    model = make_torch_model("ModernBertModel", **LONG)
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    batch = batch_for("none", ours, 2, 1003)
    batch["attention_mask"][1, 700:] = 0
    apply, params = functional(ours)
    call = jax.jit(lambda p, batch: apply(p, **batch, capture=("hidden_states",)))
    with torch.no_grad():
        theirs = run_theirs(model, batch)
    found = our_outputs(call(params, batch))
    assert_same_outputs(found, theirs, batch["attention_mask"].astype(bool))


# Of the published sizes of ModernBERT and EuroBERT, in both of their bases.
@pytest.mark.parametrize(
    ("width", "base"), [(64, 160000.0), (64, 10000.0), (64, 250000.0), (128, 250000.0)]
)
def test_angles_are_transformers_at_every_position(width: int, base: float):
    parameters = {"rope_type": "default", "rope_theta": base}
    config = ModernBertConfig(
        hidden_size=width,
        num_attention_heads=1,
        layer_types=[FULL],
        num_hidden_layers=1,
        rope_parameters={FULL: parameters},
    )
    positions = torch.arange(8192)[None]
    theirs = ModernBertRotaryEmbedding(config)(torch.zeros(1), positions, FULL)
    for ours, expected in zip(rotation(8192, width, base), theirs, strict=True):
        np.testing.assert_allclose(ours, expected[0, :, : width // 2].numpy(), atol=1.5e-7)


@pytest.mark.parametrize("head", ["MaskedLM", "TokenClassification"])
def test_modernberts_bfloat16_deviates_no_more_than_pytorchs_own(head: str, tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs(f"ModernBertFor{head}", tmp_path)
