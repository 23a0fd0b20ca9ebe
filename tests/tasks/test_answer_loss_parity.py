"""The loss of answers is that of transformers' question answering models."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers.loss.loss_utils import ForQuestionAnsweringLoss

from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.question_answering import QuestionAnswering


def test_loss_and_gradients_are_those_of_transformers():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 5, 11)).astype(np.float32) * 5
    positions = generator.integers(0, 11, (2, 5)).astype(np.int32)
    batch = {
        "input_ids": jnp.zeros((5, 11), jnp.int32),
        "start_positions": jnp.asarray(positions[0]),
        "end_positions": jnp.asarray(positions[1]),
        "row_ids": jnp.arange(5),
    }
    task = QuestionAnswering()

    def loss(logits: jax.Array) -> jax.Array:
        output = ModelOutput(jnp.zeros((5, 11, 1)), start_logits=logits[0], end_logits=logits[1])
        return task.loss_sums(output, batch)["loss"] / task.loss_weights(batch)["loss"]

    found, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits))
    tensor = torch.tensor(logits, requires_grad=True)
    places = torch.tensor(positions, dtype=torch.long)
    expected = ForQuestionAnsweringLoss(tensor[0], tensor[1], places[0], places[1])
    expected.backward()
    np.testing.assert_allclose(float(found), expected.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-5, atol=1e-8)
