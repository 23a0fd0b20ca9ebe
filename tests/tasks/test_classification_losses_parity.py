"""Losses and gradients of classifiers against PyTorch's, which transformers' models use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxbert.tasks.losses import IGNORED
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.single_label import SingleLabel


def close(found: object, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(np.asarray(found), expected.detach().numpy(), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_and_smoothing_are_those_of_torch(is_weighted: bool, smoothing: float):
    generator = np.random.default_rng(0)
    weights = generator.random(7).astype(np.float32) * 3
    logits = generator.normal(size=(11, 7)).astype(np.float32) * 3
    labels = generator.integers(0, 7, 11).astype(np.int32)
    labels[[2, 9]] = IGNORED
    names = tuple("abcdefg")
    task = SingleLabel(names, tuple(weights.tolist()) if is_weighted else None, smoothing)
    batch = {"labels": jnp.asarray(labels)}
    theirs = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.CrossEntropyLoss(
        torch.tensor(weights) if is_weighted else None, label_smoothing=smoothing
    )(theirs, torch.tensor(labels, dtype=torch.long))
    loss.backward()

    def ours(logits: jax.Array) -> jax.Array:
        return jnp.sum(task.losses(logits, batch)) / task.weight(batch)

    found, gradient = jax.value_and_grad(ours)(jnp.asarray(logits))
    close(found, loss)
    assert theirs.grad is not None
    close(gradient, theirs.grad)
    # Halves of the batch, over the weight of the whole: what microbatches add up to.
    halves = [
        jnp.sum(task.losses(jnp.asarray(logits[part]), {"labels": jnp.asarray(labels[part])}))
        for part in (slice(0, 4), slice(4, 11))
    ]
    close(sum(halves) / task.weight(batch), loss)


def test_several_labels_have_the_loss_of_transformers():
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(6, 4)).astype(np.float32) * 30
    labels = (generator.random((6, 4)) < 0.4).astype(np.float32)
    task = MultiLabel(tuple("abcd"))
    batch = {"labels": jnp.asarray(labels), "row_ids": jnp.arange(6)}
    theirs = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.BCEWithLogitsLoss()(theirs, torch.tensor(labels))
    loss.backward()

    def ours(logits: jax.Array) -> jax.Array:
        return jnp.sum(task.losses(logits, batch)) / task.weight(batch)

    found, gradient = jax.value_and_grad(ours)(jnp.asarray(logits))
    close(found, loss)
    assert theirs.grad is not None
    close(gradient, theirs.grad)
