"""Late interaction's scores, losses and gradients."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from sentence_transformers.multi_vector_encoder.losses import (
    MultiVectorMultipleNegativesRankingLoss,
)

from jaxbert.metrics import max_sim as on_host
from jaxbert.nn.model import ModelOutput
from jaxbert.nn.numerics import unit
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.late_interaction import LateInteraction, LateInteractionConfig
from jaxbert.tasks.max_sim import max_sims
from jaxbert.tasks.sentence_embedding import EmbeddingColumns
from jaxbert.training.gradients import make_gradients

# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
QUERIES, DOCUMENTS, WIDE, LONG, DIMENSIONS = 5, 7, 6, 9, 8
TASK = LateInteraction(
    LateInteractionConfig(
        columns=EmbeddingColumns(negatives=("hard",)),
        scale=2.0,
        query_length=WIDE,
        query_expansion=None,
    )
)


def sides(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors and which of them are tokens; the last document has none."""
    draws = np.random.default_rng(seed)
    queries = draws.normal(size=(QUERIES, WIDE, DIMENSIONS)).astype(np.float32)
    documents = draws.normal(size=(DOCUMENTS, LONG, DIMENSIONS)).astype(np.float32)
    is_query, is_document = (draws.random(x.shape[:2]) < 0.7 for x in (queries, documents))
    is_query[:, 0], is_document[:, 0], is_document[-1] = True, True, False
    return queries, is_query, documents, is_document


def naively(
    queries: torch.Tensor, is_query: Any, documents: torch.Tensor, is_document: Any
) -> torch.Tensor:
    """All products at a time."""
    products = torch.einsum("qtd,nkd->qntk", queries, documents)
    products = products.masked_fill(~torch.from_numpy(is_document)[None, :, None], -1e9)
    counts = (
        torch.from_numpy(is_query)[:, None] & torch.from_numpy(is_document.any(1))[None, :, None]
    )
    return torch.where(counts, products.max(dim=-1).values, 0.0).sum(dim=-1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_scores_and_their_gradients_are_those_of_the_formula_in_float64(dtype: Any):
    queries, is_query, documents, is_document = sides()
    queries, documents = (jnp.asarray(x, dtype) for x in (queries, documents))
    slopes = np.random.default_rng(1).normal(size=(QUERIES, DOCUMENTS)).astype(np.float32)

    @quickly
    def ours(queries: jax.Array, documents: jax.Array) -> Any:
        def of(queries: jax.Array, documents: jax.Array) -> Any:
            masks = jnp.asarray(is_query), jnp.asarray(is_document)
            scores = max_sims(queries, masks[0], documents, masks[1])
            return jnp.sum(scores * slopes), scores

        return jax.grad(of, argnums=(0, 1), has_aux=True)(queries, documents)

    gradients, scores = ours(queries, documents)
    wide = [
        torch.tensor(np.asarray(x, np.float64), requires_grad=True) for x in (queries, documents)
    ]
    expected = naively(wide[0], is_query, wide[1], is_document)
    (expected * torch.from_numpy(slopes)).sum().backward()
    # Of bfloat16 the products are exact, and the gradients are rounded to it once.
    np.testing.assert_allclose(scores, expected.detach(), rtol=1e-5, atol=1e-6)
    rounding = (
        {"rtol": 1e-5, "atol": 1e-5} if dtype == jnp.float32 else {"rtol": 4e-3, "atol": 1e-3}
    )
    for found, of in zip(gradients, wide, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found, np.float64), of.grad, **rounding)


def test_scores_on_the_host_are_the_same_however_they_are_cut(monkeypatch: pytest.MonkeyPatch):
    queries, is_query, documents, is_document = sides()
    is_document[-1, 0] = True
    expected = naively(
        torch.from_numpy(queries), is_query, torch.from_numpy(documents), is_document
    )
    of_queries = [x[mask] for x, mask in zip(queries, is_query, strict=True)]
    of_documents = [x[mask] for x, mask in zip(documents, is_document, strict=True)]
    for most in (1 << 24, 1 << 11, 128):
        monkeypatch.setattr(on_host, "_PRODUCTS_AT_ONCE", most)
        blocks = list(on_host.max_sims(of_queries, of_documents))
        assert (len(blocks) > 1) == (most == 128)
        np.testing.assert_allclose(np.concatenate(blocks), expected, rtol=1e-5, atol=1e-5)


def batch_of(rows: int, *, seed: int = 0, spared: bool = True) -> dict[str, np.ndarray]:
    """Rows of a query, a positive and a negative; with `spared` some texts are equal."""
    draws = np.random.default_rng(seed)
    text_ids = np.arange(3 * rows).reshape(rows, 3)
    if spared:
        text_ids[rows - 1, 1], text_ids[3, 2] = text_ids[2, 1], -1
    scored = draws.random((rows, 3, LONG)) < 0.8
    scored[:, :, 0], scored[:, 0, WIDE:] = True, False
    row_ids = np.arange(rows)
    if spared:
        row_ids[1] = -1
    batch = {
        "x": draws.normal(size=(rows, 3, LONG, DIMENSIONS)),
        "text_ids": text_ids,
        "scored": scored,
        "row_ids": row_ids,
    }
    return {
        name: np.asarray(x, np.float32 if name == "x" else np.int32) for name, x in batch.items()
    }


class Encoded(torch.nn.Module):
    """In place of an encoder: its vectors are there, as leaves."""

    def forward(self, features: Any, task: str | None = None) -> Any:
        return features


def test_the_loss_and_its_gradient_are_sentence_transformers():
    batch = batch_of(6, spared=False)
    vectors = batch["x"] / np.linalg.norm(batch["x"], axis=-1, keepdims=True)

    @quickly
    @jax.value_and_grad
    def ours(vectors: jax.Array, batch: Any) -> jax.Array:
        output = ModelOutput(jnp.zeros((1, 1, 1)), token_vectors=vectors)
        return TASK.loss_sums(output, batch)["loss"] / TASK.loss_weights(batch)["loss"]

    found, gradient = ours(vectors, batch)
    leaf = torch.tensor(vectors, requires_grad=True)
    columns = [
        {
            "token_embeddings": leaf[:, text],
            "attention_mask": torch.from_numpy(batch["scored"][:, text]),
            "input_ids": torch.zeros(6, LONG, dtype=torch.long),
            "task": "query" if text == 0 else "document",
        }
        for text in range(3)
    ]
    loss = MultiVectorMultipleNegativesRankingLoss(Encoded(), scale=2.0)(columns)
    loss.backward()
    assert float(found) == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-4, atol=1e-7)


class Projected(LateInteraction):
    model_inputs = ("x",)


def projected(params: Any, *, x: jax.Array, key: jax.Array) -> ModelOutput:
    vectors = unit(x @ params["vector_projection"]["dense"]["kernel"])
    return ModelOutput(jnp.zeros((x.shape[0], 0, 1)), token_vectors=vectors)


def gradients_of(batch: Any, parts: int, mesh: Any = None) -> Any:
    kernel = np.random.default_rng(1).normal(size=(DIMENSIONS, 4)).astype(np.float32)
    params = {"vector_projection": {"dense": {"kernel": kernel}}}
    labels = jax.tree.map(lambda _: "head", params)
    gradients = make_gradients(projected, Projected(TASK.config), labels, "float32", mesh)
    split = {name: x.reshape(parts, -1, *x.shape[1:]) for name, x in batch.items()}
    return quickly(gradients)(params, split, jax.random.key(0))


@pytest.mark.parametrize(
    ("parts", "mesh"), [(1, MeshConfig()), (4, None), (2, MeshConfig(data=4, fsdp=2))]
)
def test_negatives_are_those_of_all_devices_and_microbatches(parts: int, mesh: MeshConfig | None):
    batch = batch_of(16)
    found = gradients_of(batch, parts, None if mesh is None else make_mesh(mesh))
    expected = gradients_of(batch, 1)
    np.testing.assert_allclose(found[0]["loss"], expected[0]["loss"], rtol=1e-5)
    [ours], [theirs] = (jax.tree.leaves(each[1]) for each in (found, expected))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_equal_texts_and_texts_that_are_not_there_are_no_negatives():
    batch = batch_of(5)
    vectors = batch["x"] / np.linalg.norm(batch["x"], axis=-1, keepdims=True)
    output = ModelOutput(jnp.zeros((1, 1, 1)), token_vectors=jnp.asarray(vectors))
    found = quickly(TASK.loss_sums)(output, batch)["loss"]
    queries, documents = vectors[:, 0], vectors[:, 1:].swapaxes(0, 1).reshape(10, LONG, DIMENSIONS)
    is_token = batch["scored"][:, 1:].swapaxes(0, 1).reshape(10, LONG) > 0
    scores = 2.0 * naively(
        *(torch.from_numpy(queries).double(), batch["scored"][:, 0] > 0),
        *(torch.from_numpy(documents).double(), is_token),
    )
    # Row 1 only fills the batch, row 3 has no negative, rows 2 and 4 have one positive.
    scores[:, [1, 6, 8]] = -torch.inf
    scores[2, 4] = scores[4, 2] = -torch.inf
    losses = torch.nn.functional.cross_entropy(scores, torch.arange(5), reduction="none")
    assert float(found) == pytest.approx(losses[[0, 2, 3, 4]].sum().item(), rel=1e-5)


def test_products_of_all_pairs_of_tokens_are_never_in_memory():
    rows, tokens, seq, dimensions = 32, 32, 128, 16
    shapes = ((rows, tokens), (4 * rows, seq))
    vectors = [jax.ShapeDtypeStruct((*shape, dimensions), jnp.float32) for shape in shapes]
    masks = [jax.ShapeDtypeStruct(shape, jnp.bool) for shape in shapes]

    @quickly
    @partial(jax.grad, argnums=(0, 2))
    def gradients(queries: Any, is_query: Any, documents: Any, is_document: Any) -> Any:
        return jnp.sum(jnp.square(max_sims(queries, is_query, documents, is_document)))

    lowered = gradients.lower(vectors[0], masks[0], vectors[1], masks[1])
    found = lowered.compile().memory_analysis().temp_size_in_bytes
    whole = 4 * rows * tokens * 4 * rows * seq
    of_one_document = whole // (4 * rows)
    assert found < whole / 16
    assert found > of_one_document, "what the bound is compared with is in these bytes"


def test_texts_without_a_token_score_nothing_on_the_host():
    one, none = np.ones((1, 2), np.float32), np.zeros((0, 2), np.float32)
    [scores] = on_host.max_sims([one, none, 2 * one], [none, one, none, 3 * one])
    np.testing.assert_array_equal(scores, [[0, 2, 0, 6], [0, 0, 0, 0], [0, 4, 0, 12]])
