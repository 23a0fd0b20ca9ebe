"""Every family and every head against transformers' class in PyTorch, there and back again."""

from pathlib import Path

import jax
import pytest
import torch
import transformers
from there_and_back import (
    assert_same_outputs,
    assert_there_and_back,
    batch_for,
    our_outputs,
    run_theirs,
)
from torch_models import OPTIONS, make_torch_model

from jaxbert.families import FAMILIES
from jaxbert.hub.load import from_pretrained
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import functional
from jaxbert.nn.head import HeadKind

CASES = [
    (architecture, kind)
    for family in FAMILIES.values()
    for architecture, kind in family.architectures.items()
]
NAMES = [architecture for architecture, _ in CASES]
AS_ROBERTAS = ("xlm-roberta", "camembert", "xlm-roberta-xl", "data2vec-text")
"""Families that count positions as RoBERTa does."""


@pytest.mark.parametrize(("architecture", "kind"), CASES, ids=NAMES)
def test_outputs_gradients_and_files_are_transformers_own(
    architecture: str, kind: HeadKind, tmp_path: Path
):
    # Layers are told apart, and their kinds, by the encoder alone.
    layers = {"num_hidden_layers": 1} if kind != "none" else {}
    groups = {"num_hidden_groups": 1} if layers and architecture.startswith("Albert") else {}
    assert assert_there_and_back(architecture, tmp_path, **layers, **groups).head.kind == kind


@pytest.mark.parametrize("model_type", [n for n in OPTIONS if n not in AS_ROBERTAS])
def test_lengths_from_one_to_the_longest_match_pytorch(model_type: str, tmp_path: Path):
    transformers.utils.logging.disable_progress_bar()
    family = FAMILIES[model_type]
    architecture = family.architecture("none")
    assert architecture is not None
    model = make_torch_model(architecture)
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    for rows, length in ((1, 1), (1, 7), (2, longest_input(ours.config))):
        batch = batch_for("none", ours, rows, length)
        apply, params = functional(ours)
        call = jax.jit(lambda p, batch, apply=apply: apply(p, **batch, capture=("hidden_states",)))
        found = our_outputs(call(params, batch))
        with torch.no_grad():
            theirs = run_theirs(model, batch)
        assert_same_outputs(found, theirs, batch["attention_mask"].astype(bool))
