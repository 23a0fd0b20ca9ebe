"""After surgery a model opens in transformers, which computes what we compute."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from there_and_back import (
    assert_none_is_missing,
    assert_same_outputs,
    batch_for,
    our_outputs,
    run_theirs,
)
from torch_models import make_torch_model

from jaxbert.adapt.layers import keep_layers
from jaxbert.adapt.positions import resize_positions, with_rope_theta
from jaxbert.adapt.vocabulary import take_rows
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import make_apply, model_from_params

LAYERS: dict[str, list[int]] = {
    "BertForPreTraining": [0, 2],
    "RobertaForMaskedLM": [1, 2],
    "MPNetForMaskedLM": [0, 2],
    "DistilBertForMaskedLM": [0, 2],
    "AlbertForMaskedLM": [0, 1, 2],
    "ElectraForMaskedLM": [2],
    "DebertaV2ForMaskedLM": [1, 2],
    "ModernBertForMaskedLM": [0, 2, 3],
    "EsmForMaskedLM": [1, 3],
}
"""Which are kept of four."""


@pytest.mark.parametrize("architecture", LAYERS)
def test_longer_wider_and_shallower_models_open_as_themselves(architecture: str, tmp_path: Path):
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"num_hidden_layers": 4}
    if architecture.startswith("Albert"):
        options["num_hidden_groups"] = 1
    make_torch_model(architecture, **options).save_pretrained(tmp_path / "theirs")
    loaded = load_params(tmp_path / "theirs")
    params, config = keep_layers(loaded.params, loaded.config, LAYERS[architecture])
    params, config = resize_positions(params, config, 150)
    sources = [*((row,) for row in range(config.vocab_size)), (7, 8, 9), (5,)]
    params, config = take_rows(params, config, sources)
    save_params(params, config, loaded.head, None, tmp_path / "adapted")

    model_class = getattr(transformers, architecture)
    opened, report = model_class.from_pretrained(tmp_path / "adapted", output_loading_info=True)
    assert_none_is_missing(report, config)
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    ours = model_from_params(params, config, loaded.head)
    batch = batch_for(loaded.head.kind, ours, 3, 150)
    batch["input_ids"][0, 3:5] = config.vocab_size - 1, config.vocab_size - 2
    with torch.no_grad():
        theirs = run_theirs(opened.eval(), batch)
    apply = make_apply(config, loaded.head)
    call = jax.jit(lambda params: apply(params, **batch, capture=("hidden_states",)))
    mask = batch["attention_mask"].astype(bool)
    assert_same_outputs(our_outputs(call(params)), theirs, mask)
    assert theirs["logits"].shape == (3, 150, 133)
    again = load_params(tmp_path / "adapted")
    assert again.config == config
    jax.tree.map(np.testing.assert_array_equal, again.params, params)


@pytest.mark.parametrize(
    "architecture", ["ModernBertForMaskedLM", "EuroBertForMaskedLM", "NomicBertForMaskedLM"]
)
def test_a_model_with_another_rotary_base_opens_with_that_base(architecture: str, tmp_path: Path):
    """Against transformers' own class with the same weights, begun with the new base."""
    transformers.utils.logging.disable_progress_bar()
    before = make_torch_model(architecture)
    before.save_pretrained(tmp_path / "theirs")
    loaded = load_params(tmp_path / "theirs")
    params, config = resize_positions(loaded.params, loaded.config, 150)
    config = with_rope_theta(config, 500.0)
    save_params(params, config, loaded.head, None, tmp_path / "adapted")
    opened = getattr(transformers, architecture).from_pretrained(tmp_path / "adapted")
    fields = json.loads((tmp_path / "theirs" / "config.json").read_text())
    bases = fields["rope_parameters"]
    # ModernBERT has a base for each type of layers; that of the local ones is not asked for.
    bases.get("full_attention", bases)["rope_theta"] = 500.0
    assert opened.config.rope_parameters == bases
    rebased = make_torch_model(architecture, rope_parameters=bases, max_position_embeddings=150)

    batch = batch_for(loaded.head.kind, model_from_params(params, config, loaded.head), 2, 150)
    mask = batch["attention_mask"].astype(bool)
    with torch.no_grad():
        expected, theirs = run_theirs(rebased, batch), run_theirs(opened.eval(), batch)
        unchanged = run_theirs(before, batch)
    assert torch.abs(theirs["logits"] - expected["logits"])[mask].max() <= 1e-6
    assert torch.abs(theirs["logits"] - unchanged["logits"])[mask].max() > 1e-2
    apply = make_apply(config, loaded.head)
    call = jax.jit(lambda params: apply(params, **batch, capture=("hidden_states",)))
    assert_same_outputs(our_outputs(call(params)), theirs, mask)
    assert load_params(tmp_path / "adapted").config == config
