"""Our models against transformers' in PyTorch, loaded from the files that transformers wrote."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch_models import Saved, as_torch, make_batch, make_torch_model

from jaxbert.hub.load import from_pretrained
from jaxbert.nn.functional import functional
from jaxbert.nn.model import Model, ModelOutput

Save = Callable[..., Saved]
Open = Callable[..., Model]

LAYERS = 5


def run_ours(model: Model, batch: dict[str, np.ndarray]) -> ModelOutput:
    apply, params = functional(model)
    call = jax.jit(lambda params, batch: apply(params, **batch, capture=("hidden_states",)))
    return call(params, batch)


def run_theirs(model: Any, batch: dict[str, np.ndarray]) -> Any:
    with torch.no_grad():
        return model(**as_torch(batch), output_hidden_states=True)


def outputs(ours: ModelOutput, theirs: Any) -> list[tuple[Any, Any]]:
    """Pairs of the same output: every layer's hidden state, then whatever the head gives."""
    assert ours.hidden_states is not None
    pairs = list(zip(ours.hidden_states, theirs.hidden_states, strict=True))
    if "pooler_output" in theirs:
        pairs.append((ours.pooled, theirs.pooler_output))
    for name in ("logits", "prediction_logits"):
        if name in theirs:
            pairs.append((ours.logits, theirs[name]))
    if "seq_relationship_logits" in theirs:
        pairs.append((ours.seq_relationship_logits, theirs.seq_relationship_logits))
    return pairs


def largest_difference(ours: ModelOutput, theirs: Any) -> float:
    pairs = outputs(ours, theirs)
    return max(np.abs(np.asarray(a, np.float32) - b.float().numpy()).max() for a, b in pairs)


def test_without_mask_and_types_the_defaults_are_pytorchs(saved: Save, opened: Open):
    batch = {"input_ids": make_batch(2, 7)["input_ids"]}
    ours = run_ours(opened("BertForPreTraining"), batch)
    theirs = run_theirs(saved("BertForPreTraining").model, batch)
    assert largest_difference(ours, theirs) <= 2e-5


@pytest.mark.parametrize("name", ["BertModel", "RobertaModel", "MPNetModel", "EuroBertModel"])
def test_embeddings_and_positions_of_ones_own_match_pytorch(name: str, saved: Save, opened: Open):
    draws = np.random.default_rng(0)
    embeddings = draws.normal(size=(2, 7, 24)).astype(np.float32)
    places = draws.permuted(np.tile(np.arange(20, 27), (2, 1)), axis=1)
    alone = {"inputs_embeds": embeddings}
    for batch in (alone, alone | {"position_ids": places}):
        with torch.no_grad():
            given = {key: torch.from_numpy(values) for key, values in batch.items()}
            theirs = saved(name).model(**given, output_hidden_states=True)
        assert largest_difference(run_ours(opened(name), batch), theirs) <= 2e-5
    ids = {"input_ids": make_batch(2, 7)["input_ids"]}
    _, *moved = run_ours(opened(name), ids | {"position_ids": places}).hidden_states
    _, *still = run_ours(opened(name), ids).hidden_states
    assert np.abs(moved[-1] - still[-1]).max() > 1e-3


@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_other_activations_match_pytorch(tmp_path: Path, activation: str):
    torch_model = make_torch_model("BertForMaskedLM", hidden_act=activation)
    torch_model.save_pretrained(tmp_path)
    batch = make_batch(2, 7)
    ours = run_ours(from_pretrained(tmp_path), batch)
    assert largest_difference(ours, run_theirs(torch_model, batch)) <= 2e-5


def test_bfloat16_deviates_no_more_than_pytorchs_own(saved: Save):
    pretraining = saved("BertForPreTraining", LAYERS)
    batch = make_batch(16, 64)
    ours = run_ours(from_pretrained(pretraining.directory, dtype="bfloat16"), batch)
    assert ours.last_hidden_state.dtype == "bfloat16"
    exact = outputs(ours, run_theirs(pretraining.model, batch))
    half = outputs(ours, run_theirs(copy.deepcopy(pretraining.model).bfloat16(), batch))
    for (value, reference), (_, rounded) in zip(exact, half, strict=True):
        assert deviation(np.asarray(value, np.float32), reference.numpy()) <= deviation(
            rounded.float().numpy(), reference.numpy()
        )


def deviation(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.sqrt(np.square(value - reference).mean()))
