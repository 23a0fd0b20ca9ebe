"""Losses of several texts and their gradients against PyTorch: multiple choice and embeddings."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_models import make_torch_model

from jaxbert.errors import UserError
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.sentence_embedding import SentenceEmbedding, SentenceEmbeddingConfig
from jaxbert.tasks.text_rows import EmbeddingColumns

# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def test_multiple_choice_has_the_loss_and_the_gradient_of_transformers():
    theirs, task = make_torch_model("BertForMultipleChoice", num_hidden_layers=1), MultipleChoice()
    draws = np.random.default_rng(0)
    ids, labels = draws.integers(5, 99, (4, 3, 9)), np.array([2, 0, 1, 1])
    result = theirs(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(labels))
    result.logits.retain_grad()
    result.loss.backward()
    # A choice more, which is not there, and a row that only fills the batch.
    logits = np.full((5, 4), 7.0, np.float32)
    logits[:4, :3] = result.logits.detach().numpy()
    text_ids = np.full((5, 4), -1)
    text_ids[:4, :3] = np.arange(12).reshape(4, 3)
    batch = {"labels": np.array([*labels, -100]), "text_ids": text_ids}

    @quickly
    @jax.value_and_grad
    def loss(logits: jax.Array, batch: Any) -> jax.Array:
        output = ModelOutput(jnp.zeros((1, 1, 1)), logits=logits)
        return task.loss_sums(output, batch)["loss"] / task.loss_weights(batch)["loss"]

    found, gradient = loss(logits, batch)
    assert float(found) == pytest.approx(result.loss.item(), rel=1e-6)
    expected = np.zeros((5, 4))
    expected[:4, :3] = result.logits.grad.numpy()
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


SCALE = 7.0


def ranking_loss(
    vectors: torch.Tensor, known: Any, known_anchors: Any, *, symmetric: bool
) -> torch.Tensor:
    """sentence-transformers' MultipleNegatives(Symmetric)RankingLoss; `known` are no negatives of
    an anchor, `known_anchors` none of a positive."""
    anchors, *others = (F.normalize(vectors[:, text]) for text in range(vectors.shape[1]))
    scores = SCALE * anchors @ torch.cat(others).T
    right = torch.arange(len(anchors))
    loss = F.cross_entropy(scores.masked_fill(known, -torch.inf), right)
    if not symmetric:
        return loss
    backward = scores[:, : len(anchors)].T.masked_fill(known_anchors, -torch.inf)
    return (loss + F.cross_entropy(backward, right)) / 2


def of_vectors(
    config: SentenceEmbeddingConfig, vectors: np.ndarray, **batch: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """The mean loss of a batch of embeddings, and its gradient by them."""
    task = SentenceEmbedding(config)

    @quickly
    @jax.value_and_grad
    def loss(vectors: jax.Array, batch: Any) -> jax.Array:
        output = ModelOutput(jnp.zeros((1, 1, 1)), pooled=vectors)
        return task.loss_sums(output, batch)["loss"] / task.loss_weights(batch)["loss"]

    return loss(vectors.astype(np.float32), batch)


@pytest.mark.parametrize(
    ("texts", "symmetric", "duplicates"),
    [
        (2, True, "none"),
        (4, False, "none"),
        (3, False, "spared"),
        (3, True, "spared"),
        (3, True, "counted"),
    ],
)
def test_in_batch_negatives_have_sentence_transformers_loss(
    texts: int, symmetric: bool, duplicates: str
):
    draws = np.random.default_rng(texts)
    vectors, ids = draws.normal(size=(6, texts, 5)), np.arange(6 * texts).reshape(6, texts)
    known, known_anchors = np.zeros((6, 6 * (texts - 1)), bool), np.zeros((6, 6), bool)
    if duplicates != "none":
        ids[4, 1], ids[5, 0], ids[3, 2], ids[1, 2] = ids[0, 1], ids[2, 0], ids[0, 0], -1
        ids[1, 1] = ids[3, 0]
        # A negative that is not there.
        known[:, 6 + 1] = True
    if duplicates == "spared":
        # Equal positives, and equal anchors.
        pairs = [(0, 4), (4, 0), (2, 5), (5, 2)]
        # The anchor itself, as the negative of one row and the positive of another.
        known[tuple(np.transpose([*pairs, (0, 6 + 3), (3, 1)]))] = True
        known_anchors[tuple(np.transpose([*pairs, (1, 3)]))] = True
    columns = EmbeddingColumns(negatives=tuple("abcd"[: texts - 2]))
    config = SentenceEmbeddingConfig(
        columns=columns,
        scale=SCALE,
        symmetric=symmetric,
        spare_duplicates=duplicates != "counted",
    )
    # A row that only fills the batch.
    padded = np.concatenate([vectors, draws.normal(size=(1, texts, 5))])
    found, gradient = of_vectors(
        config,
        padded,
        text_ids=np.concatenate([ids, np.full((1, texts), -1)]),
        row_ids=np.array([*range(6), -1]),
    )
    given = torch.tensor(vectors, requires_grad=True)
    masks = torch.from_numpy(known), torch.from_numpy(known_anchors)
    expected = ranking_loss(given, *masks, symmetric=symmetric)
    expected.backward()
    assert float(found) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient[:6], given.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert not np.asarray(gradient[6]).any()


def defined_loss(ids: np.ndarray, vectors: np.ndarray, *, symmetric: bool) -> float:
    """The mean over rows with whatever belongs to an anchor, or to a positive, left out."""
    pairs = {(int(row[0]), int(row[1])) for row in ids}
    units, losses = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), []

    def loss(number: int, side: int, columns: range) -> float:
        text, terms = int(ids[number, side]), []
        for column in columns:
            for other in range(len(ids)):
                found, is_own = int(ids[other, column]), other == number and column == 1 - side
                pair = (text, found) if side == 0 else (found, text)
                if is_own or (found >= 0 and found != text and pair not in pairs):
                    terms.append(SCALE * units[number, side] @ units[other, column])
        own = SCALE * units[number, 0] @ units[number, 1]
        return float(np.log(np.sum(np.exp(np.array(terms) - own))))

    for number in range(len(ids)):
        forward = loss(number, 0, range(1, ids.shape[1]))
        both = (forward + loss(number, 1, range(1))) / 2 if symmetric else forward
        losses.append(both)
    return float(np.mean(losses))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("texts", [2, 3])
def test_what_belongs_to_an_anchor_in_any_row_is_no_negative(texts: int, symmetric: bool):
    draws = np.random.default_rng(texts)
    columns = EmbeddingColumns(negatives=tuple("abcd"[: texts - 2]))
    config = SentenceEmbeddingConfig(columns=columns, scale=SCALE, symmetric=symmetric)
    # Text 2 belongs to text 0 in the second row alone, and stands in others too.
    first = np.array([[0, 1, 4], [0, 2, -1], [3, 2, 1], [5, 6, 2], [6, 0, 3], [5, 5, 7]])
    for ids in (first[:, :texts], draws.integers(0, 9, (6, texts))):
        vectors = draws.normal(size=(9, 5))[ids]
        found, _ = of_vectors(config, vectors, text_ids=ids, row_ids=np.arange(6))
        assert float(found) == pytest.approx(
            defined_loss(ids, vectors, symmetric=symmetric), rel=1e-5
        )


@pytest.mark.parametrize("symmetric", [False, True])
def test_of_cut_vectors_the_loss_is_the_mean_of_the_losses_of_the_cuts(symmetric: bool):
    draws, dimensions = np.random.default_rng(0), (5, 3, 1)
    ids, vectors = np.arange(18).reshape(6, 3), draws.normal(size=(6, 3, 5))
    columns = EmbeddingColumns(negatives=("a",))
    config = SentenceEmbeddingConfig(
        columns=columns, scale=SCALE, symmetric=symmetric, dimensions=dimensions
    )
    found, gradient = of_vectors(config, vectors, text_ids=ids, row_ids=np.arange(6))
    losses = [defined_loss(ids, vectors[..., :width], symmetric=symmetric) for width in dimensions]
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)
    given, none = torch.tensor(vectors, requires_grad=True), torch.zeros(6, 12, dtype=torch.bool)
    cuts = [given[..., :width] for width in dimensions]
    theirs = sum(ranking_loss(cut, none, none[:, :6], symmetric=symmetric) for cut in cuts)
    (theirs / len(dimensions)).backward()
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_of_cut_vectors_the_squared_error_is_the_mean_of_those_of_their_cosines():
    draws = np.random.default_rng(0)
    vectors, scores = draws.normal(size=(5, 2, 7)), draws.uniform(-1, 1, 5).astype(np.float32)
    config = SentenceEmbeddingConfig(columns=EmbeddingColumns(label="score"), dimensions=(6, 2))
    row_ids, ids = np.array([3, 0, 1, -1, 2]), np.arange(10).reshape(5, 2)
    found, gradient = of_vectors(config, vectors, row_ids=row_ids, labels=scores, text_ids=ids)
    errors = []
    for width in (6, 2):
        a, b = vectors[:, 0, :width], vectors[:, 1, :width]
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        errors.append(np.square(np.sum(a * b, axis=1) / norms - scores)[row_ids >= 0])
    assert float(found) == pytest.approx(np.mean(errors), rel=1e-5)
    assert not np.asarray(gradient)[..., 6:].any()
    assert np.asarray(gradient)[row_ids >= 0][..., :6].all()


def test_more_components_than_the_vectors_have_are_refused():
    config, ids = SentenceEmbeddingConfig(dimensions=(768, 2)), np.arange(4).reshape(2, 2)
    with pytest.raises(UserError, match=r"dimensions=\[768, 2\]: .* vectors have 3 components"):
        of_vectors(config, np.ones((2, 2, 3)), row_ids=np.arange(2), text_ids=ids)


def test_scores_have_the_squared_error_of_the_cosine():
    draws = np.random.default_rng(0)
    vectors, scores = draws.normal(size=(5, 2, 7)), draws.uniform(-1, 1, 5).astype(np.float32)
    config = SentenceEmbeddingConfig(columns=EmbeddingColumns(label="score"))
    row_ids, ids = np.array([3, 0, 1, -1, 2]), np.arange(10).reshape(5, 2)
    found, gradient = of_vectors(config, vectors, row_ids=row_ids, labels=scores, text_ids=ids)
    given, there = torch.tensor(vectors, requires_grad=True), row_ids >= 0
    cosines = torch.cosine_similarity(given[:, 0], given[:, 1])
    expected = F.mse_loss(cosines[there], torch.from_numpy(scores).double()[there])
    expected.backward()
    assert float(found) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_a_vector_of_zeros_has_a_gradient_that_is_a_number():
    config = SentenceEmbeddingConfig()
    vectors = np.zeros((2, 2, 3))
    ids = np.arange(4).reshape(2, 2)
    found, gradient = of_vectors(config, vectors, row_ids=np.arange(2), text_ids=ids)
    assert float(found) == pytest.approx(np.log(2))
    assert np.isfinite(np.asarray(gradient)).all()
