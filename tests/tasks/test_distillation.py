"""Losses of learning from a teacher, against PyTorch's and sums in float64."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import torch

from jaxbert.errors import UserError
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.distillation import (
    Distillation,
    DistillationConfig,
    Taught,
    TaughtApply,
    Teachable,
)
from jaxbert.tasks.losses import IGNORED, binary_divergences, divergences
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.question_answering import QuestionAnswering
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sentence_embedding import SentenceEmbedding
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.token_classification import TokenClassification

DRAWS = np.random.default_rng(0)
NONE = jnp.zeros((1, 1, 1))
LABELS = ("a", "b", "c")


def logits(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """A student's and a teacher's."""
    ours, theirs = DRAWS.normal(0, 3, (2, *shape)).astype(np.float32)
    return ours, theirs


def divergence(ours: np.ndarray, theirs: np.ndarray, temperature: float) -> np.ndarray:
    """In float64, by the definition."""
    ours, theirs = (x.astype(np.float64) / temperature for x in (ours, theirs))
    log_q, log_p = (scipy.special.log_softmax(x, -1) for x in (ours, theirs))
    return temperature**2 * np.sum(np.exp(log_p) * (log_p - log_q), -1)


def as_jax(batch: dict[str, Any]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(values) for name, values in batch.items()}


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_divergences_are_pytorchs_with_their_gradients(temperature: float):
    ours, theirs = logits(7, 11)
    student = torch.tensor(ours.astype(np.float64), requires_grad=True)
    teacher = torch.tensor(theirs.astype(np.float64))
    expected = temperature**2 * torch.nn.functional.kl_div(
        torch.log_softmax(student / temperature, -1),
        torch.softmax(teacher / temperature, -1),
        reduction="sum",
    )
    expected.backward()

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(divergences(x, jnp.asarray(theirs), temperature))

    found, gradient = jax.value_and_grad(total)(jnp.asarray(ours))
    np.testing.assert_allclose(found, expected.item(), rtol=1e-5)
    assert student.grad is not None
    np.testing.assert_allclose(gradient, student.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_divergences_of_equals_are_zero_and_large_logits_stay_numbers():
    ours, theirs = logits(4, 5)
    same = divergences(jnp.asarray(ours), jnp.asarray(ours), 2.0)
    np.testing.assert_allclose(same, np.zeros(4), atol=1e-6)
    ours, theirs = 1e4 * ours, 1e4 * theirs
    found = divergences(jnp.asarray(ours), jnp.asarray(theirs), 1.0)
    np.testing.assert_allclose(found, divergence(ours, theirs, 1.0), rtol=1e-5)


def test_what_takes_no_part_is_none_at_a_temperature_below_one():
    ours, theirs = logits(4, 5)
    out = np.full((4, 2), np.finfo(np.float32).min)
    wide = (jnp.asarray(np.concatenate((x, out), axis=-1)) for x in (ours, theirs))
    found = divergences(*wide, 0.5)
    np.testing.assert_allclose(found, divergence(ours, theirs, 0.5), rtol=1e-5)


def test_a_label_that_may_be_there_is_a_choice_of_two():
    ours, theirs = logits(5, 3)
    pairs = (np.stack((x, np.zeros_like(x)), -1) for x in (ours, theirs))
    found = binary_divergences(jnp.asarray(ours), jnp.asarray(theirs), 2.0)
    np.testing.assert_allclose(found, divergence(*pairs, 2.0), rtol=1e-4, atol=1e-6)


def cases() -> Iterator[Any]:
    """A task, its batch, both outputs, and the sum and the weight of answers by brute force."""
    ids = np.array([0, 1, -1])
    ours, theirs = logits(3, 3)
    weights = np.array([0.5, 1.5, 7.0], np.float32)
    batch: dict[str, np.ndarray] = {"labels": np.array([0, 2, 1]), "row_ids": ids}
    task: Any = SequenceClassification(SingleLabel(LABELS, class_weights=(1.0, 5.0, 2.0)))
    expected = divergence(ours, theirs, 2.0)
    yield pytest.param(
        *(task, batch | {"weights": weights}, {"logits": (ours, theirs)}),
        *(expected[0] / 2 + 1.5 * expected[1], 2),
        id="classes",
    )
    packed = {name: values[None] for name, values in batch.items()}
    yield pytest.param(
        *(task, packed, {"logits": (ours[None], theirs[None])}, expected[:2].sum(), 2),
        id="classes of packed rows",
    )
    pairs = (np.stack((x, np.zeros_like(x)), -1) for x in (ours, theirs))
    several = divergence(*pairs, 2.0).mean(-1)
    task = SequenceClassification(MultiLabel(LABELS))
    yield pytest.param(
        *(task, batch, {"logits": (ours, theirs)}, several[:2].sum(), 2), id="several labels"
    )
    numbers = {"logits": (ours[:, :1], theirs[:, :1])}
    squares = np.square(ours[:2, 0].astype(np.float64) - theirs[:2, 0])
    task = SequenceClassification(Regression())
    yield pytest.param(task, batch, numbers, squares.sum(), 2, id="numbers")

    ours, theirs = logits(2, 4, 3)
    labels = np.array([[IGNORED, 1, 0, IGNORED], [2, IGNORED, IGNORED, IGNORED]])
    expected = divergence(ours, theirs, 2.0)[labels != IGNORED].sum()
    both = {"logits": (ours, theirs)}
    yield pytest.param(
        TokenClassification(LABELS), {"labels": labels}, both, expected, 3, id="tags"
    )
    for pairs_of in ("none", "next_sentence"):
        task = MaskedLanguageModelling(pairs_of)  # type: ignore[arg-type]
        yield pytest.param(task, {"labels": labels}, both, expected, 3, id=f"words, {pairs_of}")
    # A teacher whose table has rows beyond the last token.
    wide = np.concatenate([theirs, np.full((2, 4, 5), 9.0, np.float32)], -1)
    yield pytest.param(
        *(MaskedLanguageModelling("none"), {"labels": labels}, {"logits": (ours, wide)}),
        *(expected, 3),
        id="words of a padded vocabulary",
    )

    ours, theirs = logits(2, 3)
    texts = np.array([[0, 1, 2], [3, 4, -1]])
    expected = divergence(ours[0], theirs[0], 2.0) + divergence(ours[1, :2], theirs[1, :2], 2.0)
    batch = {"labels": np.array([1, 0]), "text_ids": texts}
    yield pytest.param(
        MultipleChoice(), batch, {"logits": (ours, theirs)}, expected, 2, id="choices"
    )

    start, end = logits(2, 5), logits(2, 5)
    batch = {
        "input_ids": np.ones((2, 5), np.int32),
        "attention_mask": np.array([[1] * 5, [1, 1, 1, 0, 0]]),
        "row_ids": np.array([4, 9]),
    }
    expected = sum(
        divergence(x[0][row, :length], x[1][row, :length], 2.0)
        for x in (start, end)
        for row, length in ((0, 5), (1, 3))
    )
    places = {"start_logits": start, "end_logits": end}
    yield pytest.param(QuestionAnswering(), batch, places, expected / 2, 2, id="places")
    packed = {
        "input_ids": np.ones((2, 5), np.int32),
        "sequence_ids": np.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 0]]),
        "sequence_starts": np.array([[0, 2], [0, 0]]),
        "row_ids": np.array([[4, 9], [2, -1]]),
    }
    expected = sum(
        divergence(x[0][row, begin:stop], x[1][row, begin:stop], 2.0)
        for x in (start, end)
        for row, begin, stop in ((0, 0, 2), (0, 2, 5), (1, 0, 4))
    )
    yield pytest.param(
        QuestionAnswering(), packed, places, expected / 2, 3, id="places in packed rows"
    )

    vectors = logits(3, 2, 4)
    apart = np.square(vectors[0].astype(np.float64) - vectors[1]).mean(-1)
    batch = {"text_ids": np.array([[0, 1], [2, -1], [3, 4]]), "row_ids": ids}
    yield pytest.param(
        *(SentenceEmbedding(), batch, {"pooled": vectors}, apart[0].mean() + apart[1, 0], 2),
        id="vectors",
    )


@pytest.mark.parametrize(("task", "batch", "outputs", "total", "weight"), [*cases()])
def test_answers_are_compared_where_they_count(
    task: Any, batch: Any, outputs: Any, total: float, weight: float
):
    assert isinstance(task, Teachable)
    ours, theirs = (
        ModelOutput(NONE, **{name: jnp.asarray(x[side]) for name, x in outputs.items()})
        for side in (0, 1)
    )
    batch = as_jax(batch)
    assert float(task.answer_weight(batch)) == weight
    np.testing.assert_allclose(task.answer_sum(ours, theirs, batch, 2.0), total, rtol=1e-5)
    zero = task.answer_sum(ours, ours, batch, 2.0)
    np.testing.assert_allclose(zero, 0.0, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_hidden_states_are_compared_by_their_cosine_as_pytorch_does(packed: bool):
    ours, theirs = logits(3, 5, 8)
    is_real = np.arange(5) < np.array([[5], [1], [3]])
    named = "sequence_ids" if packed else "attention_mask"
    batch = as_jax({named: is_real.astype(np.int32), "labels": np.array([0, 1, 2])})
    config = DistillationConfig("t", labels_weight=0.0, logits_weight=0.0, hidden_states_weight=3.0)
    task = Distillation(SequenceClassification(SingleLabel(LABELS)), config)
    outputs = Taught(
        *(ModelOutput(jnp.asarray(x), logits=jnp.zeros((3, 3))) for x in (ours, theirs))
    )
    sums, weights = task.loss_sums(outputs, batch), task.loss_weights(batch)
    assert {*sums} == {*weights} == {"labels_loss", "hidden_loss"}
    assert float(weights["hidden_loss"]) == 9
    assert task.loss_factor("hidden_loss") == 3.0
    pairs = (torch.tensor(x[is_real].astype(np.float64)) for x in (ours, theirs))
    loss = torch.nn.functional.cosine_embedding_loss(*pairs, torch.ones(9), reduction="sum")
    np.testing.assert_allclose(sums["hidden_loss"], loss.item(), rtol=1e-5)


def test_the_labels_losses_keep_their_names_beside_the_teachers():
    config = DistillationConfig("t", temperature=1.0, labels_weight=2.0, logits_weight=5.0)
    inner = MaskedLanguageModelling("next_sentence")
    task = Distillation(inner, config)
    batch = as_jax({"labels": np.array([[1, IGNORED]]), "next_sentence_label": np.array([1])})
    ours, theirs = (
        ModelOutput(NONE, logits=jnp.asarray(x), seq_relationship_logits=jnp.ones((1, 2)))
        for x in logits(1, 2, 3)
    )
    sums = task.loss_sums(Taught(ours, theirs), batch)
    own = inner.loss_sums(ours, batch)
    assert {*sums} == {"masked_lm_loss", "next_sentence_loss", "distillation_loss"}
    assert {name: float(sums[name]) for name in own} == {n: float(x) for n, x in own.items()}
    assert {name: task.loss_factor(name) for name in sums} == {
        "masked_lm_loss": 2.0,
        "next_sentence_loss": 2.0,
        "distillation_loss": 5.0,
    }
    assert task.head == inner.head


def test_dropout_acts_on_the_student_alone():
    def model(params: Any, *, x: Any, key: Any = None) -> tuple[Any, Any, Any]:
        return params, x, key

    ours, theirs, key = {"ours": 1}, {"theirs": 2}, jax.random.key(0)
    taught = TaughtApply(model, model)(ours, theirs, x=3, key=key)
    assert taught == ((ours, 3, key), (theirs, 3, None))


def test_a_teacher_of_whom_nothing_is_learnt_is_refused():
    with pytest.raises(UserError, match="nothing is learnt from the teacher"):
        DistillationConfig("t", logits_weight=0.0)
    with pytest.raises(UserError, match="temperature"):
        DistillationConfig("t", temperature=0.0)
