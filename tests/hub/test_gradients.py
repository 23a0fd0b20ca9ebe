"""Gradients of the pretraining loss against PyTorch's autograd."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch_models import Saved, as_torch, make_batch

from jaxbert.hub.save import file_tensors
from jaxbert.nn.functional import functional
from jaxbert.nn.model import Model

POSITIONS = np.array([[1, 4, 9, 30, 33], [2, 3, 17, 20, 0], [5, 0, 0, 0, 0]], np.int32)
WEIGHTS = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]], np.float32)
IDS = np.random.default_rng(3).integers(5, 131, POSITIONS.shape).astype(np.int32)
IS_RANDOM_NEXT = np.array([0, 1, 1], np.int32)


def cross_entropy(logits: jax.Array, targets: np.ndarray) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -chosen[..., 0]


def our_gradients(model: Model, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By PyTorch's names; the vocabulary projection runs on the masked positions only."""
    apply, params = functional(model)
    inputs = {name: jnp.asarray(values) for name, values in batch.items()}

    def loss(params: Any) -> jax.Array:
        output = apply(params, **inputs, masked_lm_positions=jnp.asarray(POSITIONS))
        masked = (cross_entropy(output.logits, IDS) * WEIGHTS).sum() / WEIGHTS.sum()
        following = cross_entropy(output.seq_relationship_logits, IS_RANDOM_NEXT).mean()
        return masked + following

    return file_tensors(jax.jit(jax.grad(loss))(params), model.config, model.head)


def their_gradients(model: Any, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    labels = np.full(batch["input_ids"].shape, -100)
    rows = np.broadcast_to(np.arange(3)[:, None], POSITIONS.shape)
    is_real = WEIGHTS.astype(bool)
    labels[rows[is_real], POSITIONS[is_real]] = IDS[is_real]
    model.zero_grad()
    model(
        **as_torch(batch),
        labels=torch.from_numpy(labels),
        next_sentence_label=torch.from_numpy(IS_RANDOM_NEXT).long(),
    ).loss.backward()
    gradients = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    model.zero_grad()
    return gradients


def test_the_gradient_of_every_parameter_matches_pytorch(
    saved: Callable[..., Saved], opened: Callable[..., Model]
):
    batch = make_batch(3, 40)
    ours = our_gradients(opened("BertForPreTraining", 3), batch)
    theirs = their_gradients(saved("BertForPreTraining", 3).model, batch)
    assert set(ours) == set(theirs)
    largest = max(np.abs(gradient).max() for gradient in theirs.values())
    for name, expected in theirs.items():
        difference = np.abs(ours[name] - expected).max()
        if name.endswith("self.key.bias"):
            # Zero in exact arithmetic: it shifts all scores of a query alike.
            assert difference <= 1e-6 * largest
        else:
            assert difference <= 1e-4 * np.abs(expected).max(), name
