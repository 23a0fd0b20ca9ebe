"""Self-attention relations of a student and its teacher, against PyTorch's and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxbert.errors import UserError
from jaxbert.nn.attention import Projections
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.distillation import Distillation, DistillationConfig, Taught
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.relations import relation_losses

HEADS = 3
IDS = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 2, 2, 2, 0], [1, 0, 0, 0, 0, 0]], np.int32)
"""A row with padding, a packed one, a single token."""


def drawn(seed: int, heads: int, head_dim: int, shared: int) -> Projections:
    draws = np.random.default_rng(seed)
    sizes = (heads, shared, shared)
    return Projections(
        *(jnp.asarray(draws.normal(0, 2, (3, 6, n, head_dim)), jnp.float32) for n in sizes)
    )


STUDENT, TEACHER = drawn(0, 2, 6, 1), drawn(1, 4, 6, 4)
"""Twelve features, of which keys and values share six; and twenty-four."""


def of_example(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """[tokens] of one kind, from [tokens, features]: the mean over heads of the divergences."""
    relations = []
    for x in (ours, theirs):
        parts = x.reshape(len(x), HEADS, -1).transpose(0, 1)
        relations.append(parts @ parts.transpose(1, 2) / parts.shape[-1] ** 0.5)
    log_q, log_p = (torch.log_softmax(x, -1) for x in relations)
    apart = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none")
    return apart.sum(-1).mean(0)


def expected(student: list[torch.Tensor], teacher: list[torch.Tensor]) -> torch.Tensor:
    """[rows, tokens], one example of a row after the other."""
    found = torch.zeros(IDS.shape, dtype=torch.float64)
    for row, ids in enumerate(IDS):
        for example in {*ids.tolist()} - {0}:
            places = torch.tensor(np.flatnonzero(ids == example))
            for ours, theirs in zip(student, teacher, strict=True):
                pair = (x[row, places].flatten(1) for x in (ours, theirs))
                found[row, places] += of_example(*pair)
    return found


def test_relations_are_those_of_loops_over_examples_with_their_gradients():
    student = [torch.tensor(np.float64(x), requires_grad=True) for x in STUDENT]
    teacher = [torch.tensor(np.float64(x)) for x in TEACHER]
    losses = expected(student, teacher).sum(1)
    factors = np.array([1.0, -0.5, 3.0])
    (losses * torch.tensor(factors)).sum().backward()

    def total(student: Projections) -> tuple[jax.Array, jax.Array]:
        found = relation_losses(student, TEACHER, jnp.asarray(IDS), HEADS)
        return (found * factors).sum(), found

    slopes, found = jax.grad(total, has_aux=True)(STUDENT)
    np.testing.assert_allclose(found, losses.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        relation_losses(STUDENT, TEACHER, jnp.asarray(IDS), HEADS), found, rtol=1e-6
    )
    assert float(found[2]) == pytest.approx(0, abs=1e-6), "a token alone is like itself"
    for slope, one in zip(slopes, student, strict=True):
        np.testing.assert_allclose(slope, one.grad, rtol=1e-4, atol=1e-5)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    found = relation_losses(TEACHER, TEACHER, jnp.asarray(IDS), HEADS)
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


@pytest.mark.parametrize("layer", [None, 1])
def test_the_students_last_layer_learns_from_a_chosen_one_of_the_teacher(layer: int | None):
    config = DistillationConfig(
        "t", logits_weight=0.0, relations_weight=2.0, relation_heads=HEADS, relation_layer=layer
    )
    task = Distillation(MaskedLanguageModelling("none"), config)
    others = drawn(2, 2, 6, 1), drawn(3, 4, 6, 4)
    logits = jnp.zeros((3, 1, 5))
    layers = (TEACHER, others[1]) if layer == 1 else (others[1], TEACHER)
    output = Taught(
        ModelOutput(jnp.zeros((3, 6, 12)), logits=logits, projections=(others[0], STUDENT)),
        ModelOutput(jnp.zeros((3, 6, 24)), projections=layers),
    )
    batch = {"sequence_ids": jnp.asarray(IDS), "labels": jnp.zeros((3, 1), jnp.int32)}
    sums, weights = task.loss_sums(output, batch), task.loss_weights(batch)
    assert {*sums} == {*weights} == {"masked_lm_loss", "relations_loss"}
    total = relation_losses(STUDENT, TEACHER, jnp.asarray(IDS), HEADS).sum()
    np.testing.assert_allclose(sums["relations_loss"], total, rtol=1e-6)
    assert float(weights["relations_loss"]) == 10
    assert task.loss_factor("relations_loss") == 2.0
    assert task.compared(output) is output


def test_parts_have_sixteen_features_of_the_teachers_unless_said_otherwise():
    config = DistillationConfig("t", relations_weight=1.0)
    assert [config.relation_heads_of(width) for width in (768, 1024, 8)] == [48, 64, 1]
    assert DistillationConfig("t", relation_heads=3).relation_heads_of(768) == 3
    assert config.capture == ("projections",)
    assert DistillationConfig("t").capture == ()
    with pytest.raises(UserError, match="relation_heads"):
        DistillationConfig("t", relation_heads=0)
