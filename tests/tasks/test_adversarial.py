"""Where embeddings are moved, by brute force in float64, and what is learnt of it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.adversarial import Adversarial, AdversarialConfig, Moved, directions
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel

DRAWS = np.random.default_rng(0)


def defined(slope: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """`numbers` [rows, seq]: which text of its row a token is of, 0 for padding."""
    found = np.zeros(slope.shape)
    for row, text in {(row, n) for row, line in enumerate(numbers) for n in line if n}:
        own = slope[row][numbers[row] == text].astype(np.float64)
        norm = np.sqrt(np.sum(np.square(own)))
        found[row, numbers[row] == text] = own / norm if norm else 0
    return found


@pytest.mark.parametrize("name", ["attention_mask", "sequence_ids"])
def test_every_text_is_moved_by_a_step_of_one(name: str):
    numbers = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    if name == "sequence_ids":
        numbers = np.array([[1, 1, 2, 2, 2], [1, 0, 0, 0, 0], [1, 2, 2, 3, 0]])
    slope = DRAWS.normal(0, 1e-4, (3, 5, 4)).astype(np.float32)
    # A text that the loss does not depend on.
    slope[2] = 0
    found = directions(jnp.asarray(slope), {name: jnp.asarray(numbers)})
    np.testing.assert_allclose(found, defined(slope, numbers), rtol=1e-5)


def test_of_several_texts_in_a_row_each_has_its_own_step():
    slope = DRAWS.normal(size=(2, 3, 5, 4)).astype(np.float32)
    mask = DRAWS.integers(0, 2, (2, 3, 5))
    found = directions(jnp.asarray(slope), {"attention_mask": jnp.asarray(mask)})
    expected = defined(slope.reshape(6, 5, 4), mask.reshape(6, 5))
    np.testing.assert_allclose(found, expected.reshape(slope.shape), rtol=1e-5)


def test_both_losses_are_those_of_the_task_and_the_second_is_weighed():
    inner = SequenceClassification(SingleLabel(("a", "b", "c"), class_weights=(1.0, 5.0, 2.0)))
    task = Adversarial(inner, AdversarialConfig(weight=0.25))
    batch = {"labels": jnp.array([0, 2, 1, -100]), "row_ids": jnp.array([0, 1, 2, -1])}
    outputs: Any = [
        ModelOutput(jnp.zeros((1, 1, 1)), logits=jnp.asarray(x, jnp.float32))
        for x in DRAWS.normal(size=(2, 4, 3))
    ]
    sums, weights = task.loss_sums(Moved(*outputs), batch), task.loss_weights(batch)
    names = ("labels_loss", "adversarial_loss")
    for name, one in zip(names, outputs, strict=True):
        assert float(sums[name]) == float(inner.loss_sums(one, batch)["loss"])
        assert float(weights[name]) == float(inner.loss_weights(batch)["loss"]) == 8
    assert [task.loss_factor(name) for name in names] == [1, 0.25]
    assert {*sums} == {*weights} == {*names}


def test_a_step_of_no_length_is_refused():
    with pytest.raises(UserError, match="epsilon"):
        AdversarialConfig(epsilon=0.0)
