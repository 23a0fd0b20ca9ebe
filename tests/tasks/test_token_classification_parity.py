"""The loss of tagged tokens and its gradient against that of transformers' models."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers.loss.loss_utils import ForTokenClassification

from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.token_classification import TokenClassification


def test_loss_and_gradient_are_those_of_transformers():
    task, rng = TokenClassification(("O", "B-x", "I-x")), np.random.default_rng(0)
    logits = (rng.normal(size=(5, 9, 3)) * 4).astype(np.float32)
    labels = rng.choice([-100, 0, 1, 2], size=(5, 9)).astype(np.int32)
    theirs = torch.tensor(logits, requires_grad=True)
    config = SimpleNamespace(num_labels=3)
    expected = ForTokenClassification(theirs, torch.tensor(labels, dtype=torch.long), config)
    expected.backward()

    def loss(logits: jax.Array) -> jax.Array:
        batch = {"labels": jnp.asarray(labels)}
        output = ModelOutput(jnp.zeros((5, 9, 4)), logits=logits)
        return task.loss_sums(output, batch)["loss"] / task.loss_weights(batch)["loss"]

    found, gradient = jax.value_and_grad(loss)(jnp.asarray(logits))
    np.testing.assert_allclose(found, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-7)
