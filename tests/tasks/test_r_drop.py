"""R-Drop's losses, against PyTorch's in float64 and each task's own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import torch
from torch.nn import functional

from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.distillation import Distillation, DistillationConfig, Taught
from jaxbert.tasks.losses import IGNORED
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.question_answering import QuestionAnswering
from jaxbert.tasks.r_drop import RDrop, Twice, TwiceApply
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.token_classification import TokenClassification

LABELS = ("a", "b", "c")
NONE = jnp.zeros((1, 1, 1))
DRAWS = np.random.default_rng(0)


def output(logits: Any) -> ModelOutput:
    return ModelOutput(NONE, logits=jnp.asarray(logits, jnp.float32))


def total(task: RDrop, pair: Twice, batch: dict[str, Any]) -> jax.Array:
    """What a step minimises."""
    weights, sums = task.loss_weights(batch), task.loss_sums(pair, batch)
    assert {*weights} == {*sums} == {"labels_loss", "r_drop_loss"}
    return sum(
        (task.loss_factor(name) * sums[name] / weights[name] for name in sums), jnp.zeros(())
    )


def of_classes(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(x, labels, reduction="none")


def of_pairs(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    log_x, log_y = (torch.log_softmax(z, -1) for z in (x, y))
    both = (
        functional.kl_div(log_x, log_y, log_target=True, reduction="none"),
        functional.kl_div(log_y, log_x, log_target=True, reduction="none"),
    )
    return sum(both, torch.zeros(())).sum(-1) / 2


def expected_classes(first: torch.Tensor, second: torch.Tensor, labels: Any) -> Any:
    labels = torch.tensor(labels)
    losses = (of_classes(first, labels) + of_classes(second, labels)) / 2
    return losses.mean(), of_pairs(first, second).mean()


def expected_tags(first: torch.Tensor, second: torch.Tensor, labels: Any) -> Any:
    kept = torch.tensor(labels != IGNORED)
    return expected_classes(first[kept], second[kept], labels[labels != IGNORED])


def expected_several(first: torch.Tensor, second: torch.Tensor, labels: Any) -> Any:
    labels = torch.tensor(labels, dtype=torch.float64)
    losses = [functional.binary_cross_entropy_with_logits(x, labels) for x in (first, second)]
    ours, theirs = (torch.distributions.Bernoulli(logits=x) for x in (first, second))
    kl = torch.distributions.kl_divergence
    return (losses[0] + losses[1]) / 2, (kl(ours, theirs) + kl(theirs, ours)).mean() / 2


def expected_numbers(first: torch.Tensor, second: torch.Tensor, labels: Any) -> Any:
    labels = torch.tensor(labels, dtype=torch.float64)
    losses = [functional.mse_loss(x[:, 0], labels) for x in (first, second)]
    return (losses[0] + losses[1]) / 2, functional.mse_loss(first, second)


TAGS = np.array([[IGNORED, 1, 0, IGNORED], [2, IGNORED, IGNORED, IGNORED]])
CASES = [
    (SequenceClassification(SingleLabel(LABELS)), np.array([0, 2]), (2, 3), expected_classes),
    (SequenceClassification(MultiLabel(LABELS)), np.eye(2, 3), (2, 3), expected_several),
    (SequenceClassification(Regression()), np.array([0.5, -1.0]), (2, 1), expected_numbers),
    (TokenClassification(LABELS), TAGS, (2, 4, 3), expected_tags),
]


@pytest.mark.parametrize(
    ("task", "labels", "shape", "expected"), CASES, ids=["classes", "labels", "numbers", "tags"]
)
def test_both_losses_and_gradients_of_both_outputs_are_pytorchs(
    task: Any, labels: Any, shape: Any, expected: Any
):
    weight = 1.7
    logits = DRAWS.normal(0, 2, (2, *shape)).astype(np.float32)
    # Rows of the batch that only fill it count nowhere.
    fill = (np.full_like(labels[:1], IGNORED), np.full((2, 1, *shape[1:]), 9.0, np.float32))
    held = RDrop(task, weight)
    batch = {
        "labels": jnp.asarray(np.concatenate((labels, fill[0]))),
        "row_ids": jnp.array([4, 0, -1]),
    }

    def found(pair: Any) -> jax.Array:
        filled = (jnp.concatenate(x) for x in zip(pair, fill[1], strict=True))
        return total(held, Twice(*map(output, filled)), batch)

    pair = torch.tensor(logits.astype(np.float64), requires_grad=True)
    losses, apart = expected(*pair, labels)
    (losses + weight * apart).backward()
    value, slopes = jax.value_and_grad(found)((jnp.asarray(logits[0]), jnp.asarray(logits[1])))
    np.testing.assert_allclose(value, (losses + weight * apart).item(), rtol=1e-5)
    assert pair.grad is not None
    np.testing.assert_allclose(np.stack(slopes), pair.grad.numpy(), rtol=1e-4, atol=1e-6)


def symmetric(first: np.ndarray, second: np.ndarray) -> float:
    """In float64, by the definition: half the sum of (p - q) (log p - log q)."""
    logs = [scipy.special.log_softmax(x.astype(np.float64)) for x in (first, second)]
    return float(np.sum((np.exp(logs[0]) - np.exp(logs[1])) * (logs[0] - logs[1])) / 2)


def test_choices_that_are_not_there_are_not_compared():
    first, second = DRAWS.normal(0, 2, (2, 2, 3)).astype(np.float32)
    batch = {
        "labels": jnp.array([1, 0]),
        "text_ids": jnp.array([[0, 1, 2], [3, 4, -1]]),
    }
    task = RDrop(MultipleChoice(), 1.0)
    found, slope = jax.value_and_grad(
        lambda x: task.loss_sums(Twice(output(x), output(second)), batch)["r_drop_loss"]
    )(jnp.asarray(first))
    expected = symmetric(first[0], second[0]) + symmetric(first[1, :2], second[1, :2])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isfinite(slope).all()
    assert slope[1, 2] == 0


def test_places_of_answers_are_compared_over_the_tokens_of_their_example():
    start, end = DRAWS.normal(0, 2, (2, 2, 2, 5)).astype(np.float32)
    batch = {
        "input_ids": jnp.ones((2, 5), jnp.int32),
        "sequence_ids": jnp.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 0]]),
        "sequence_starts": jnp.array([[0, 2], [0, 0]]),
        "row_ids": jnp.array([[4, 9], [2, -1]]),
        "start_positions": jnp.zeros((2, 2), jnp.int32),
        "end_positions": jnp.zeros((2, 2), jnp.int32),
    }
    task = RDrop(QuestionAnswering(), 1.0)

    def apart(start: jax.Array, end: jax.Array) -> jax.Array:
        outputs = (ModelOutput(NONE, start_logits=start[i], end_logits=end[i]) for i in (0, 1))
        return task.loss_sums(Twice(*outputs), batch)["r_drop_loss"]

    found, slopes = jax.value_and_grad(apart, (0, 1))(jnp.asarray(start), jnp.asarray(end))
    expected = sum(
        symmetric(x[0, row, begin:stop], x[1, row, begin:stop])
        for x in (start, end)
        for row, begin, stop in ((0, 0, 2), (0, 2, 5), (1, 0, 4))
    )
    np.testing.assert_allclose(found, expected / 2, rtol=1e-5)
    assert task.loss_weights(batch)["r_drop_loss"] == 3
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_equal_passes_leave_the_plain_loss():
    task = SequenceClassification(SingleLabel(LABELS, class_weights=(1.0, 5.0, 2.0)))
    one = output(DRAWS.normal(0, 2, (4, 3)))
    batch = {"labels": jnp.array([0, 2, 1, 1]), "row_ids": jnp.arange(4)}
    plain = task.loss_sums(one, batch)["loss"] / task.loss_weights(batch)["loss"]
    np.testing.assert_allclose(total(RDrop(task, 3.0), Twice(one, one), batch), plain, rtol=1e-6)


def test_of_a_student_both_passes_learn_and_are_compared():
    inner = SequenceClassification(SingleLabel(LABELS))
    config = DistillationConfig("t", temperature=3.0, labels_weight=0.25, logits_weight=2.0)
    taught = Distillation(inner, config)
    first, second, teacher = map(output, DRAWS.normal(0, 2, (3, 4, 3)))
    batch = {"labels": jnp.array([0, 2, 1, 1]), "row_ids": jnp.arange(4)}
    task = RDrop(taught, 5.0)
    pair = Twice(Taught(first, teacher), Taught(second, teacher))
    sums, each = task.loss_sums(pair, batch), [taught.loss_sums(x, batch) for x in pair]
    for name in ("labels_loss", "distillation_loss"):
        np.testing.assert_allclose(sums[name], (each[0][name] + each[1][name]) / 2, rtol=1e-6)
    alone = RDrop(inner, 5.0).loss_sums(Twice(first, second), batch)
    assert float(sums["r_drop_loss"]) == float(alone["r_drop_loss"])
    assert {name: task.loss_factor(name) for name in sums} == {
        "labels_loss": 0.25,
        "distillation_loss": 2.0,
        "r_drop_loss": 5.0,
    }
    assert sums.keys() == task.loss_weights(batch).keys()


def test_both_passes_have_a_key_of_their_own_and_the_same_inputs():
    def model(params: Any, fixed: Any, *, x: Any, key: Any = None) -> tuple[Any, Any, Any, Any]:
        return params, fixed, x, key

    key = jax.random.key(7)
    first, second = TwiceApply(model)({"a": 1}, {"b": 2}, x=3, key=key)
    assert first[:3] == second[:3] == ({"a": 1}, {"b": 2}, 3)
    keys = [np.asarray(jax.random.key_data(one)).tolist() for one in (first[3], second[3], key)]
    assert keys[0] != keys[1] != keys[2] != keys[0]
    assert TwiceApply(model)({}, {}, x=3) == Twice(({}, {}, 3, None), ({}, {}, 3, None))
