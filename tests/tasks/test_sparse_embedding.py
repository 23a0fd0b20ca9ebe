"""Weights of the vocabulary that are compared, kept few, searched and predicted."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbert.config import parse_config
from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.metrics.retrieval import ranks_by_product
from jaxbert.metrics.sparse import active_dims, as_matrix, products_of_a_pair, sparse_vectors
from jaxbert.nn.head import Head, Splade
from jaxbert.nn.model import ModelOutput
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.sparse_embedding import (
    EncodedSparseTexts,
    SparseEmbedding,
    SparseEmbeddingConfig,
)
from jaxbert.tasks.text_rows import EmbeddingColumns
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece
from jaxbert.training.gradients import make_gradients, total
from jaxbert.training.state import TrainState
from jaxbert.training.step import StepConfig, make_train_step

# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CONFIG = SparseEmbeddingConfig(
    columns=EmbeddingColumns(negatives=("c",)),
    query_flops_weight=0.5,
    document_flops_weight=0.25,
)


class Projected(SparseEmbedding):
    model_inputs = ("x",)


def projected(params: Any, *, x: jax.Array, key: jax.Array) -> ModelOutput:
    dense = params["pooler"]["dense"]
    vectors = jax.nn.relu(x @ dense["kernel"] + dense["bias"][None, None])
    return ModelOutput(jnp.zeros((1, 1, 1)), vectors)


def parameters() -> Any:
    kernel = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    return {"pooler": {"dense": {"kernel": kernel, "bias": np.full(4, 0.1, np.float32)}}}


LABELS = jax.tree.map(lambda _: "head", parameters())


def batch_of(parts: int) -> dict[str, np.ndarray]:
    """16 rows of three texts as so many microbatches; a row is none and some negatives are not."""
    draws = np.random.default_rng(0)
    text_ids = np.arange(48).reshape(16, 3)
    text_ids[9, 1], text_ids[[3, 4], 2] = text_ids[2, 1], -1
    batch = {
        "x": draws.normal(size=(16, 3, 6)).astype(np.float32),
        "text_ids": text_ids.astype(np.int32),
        "row_ids": np.where(np.arange(16) == 12, -1, np.arange(16)).astype(np.int32),
    }
    return {name: x.reshape(parts, -1, *x.shape[1:]) for name, x in batch.items()}


def expected_losses(config: SparseEmbeddingConfig) -> dict[str, float]:
    """In float64, row by row."""
    batch, dense = batch_of(1), parameters()["pooler"]["dense"]
    vectors = np.maximum(batch["x"][0].astype(float) @ dense["kernel"] + dense["bias"], 0)
    rows = [row for row in range(16) if batch["row_ids"][0, row] >= 0]
    ids, losses = batch["text_ids"][0], []
    for row in rows:
        known = {ids[other, 1] for other in rows if ids[other, 0] == ids[row, 0]}
        scores = [vectors[row, 0] @ vectors[row, 1]]
        for other in rows:
            for column in (1, 2):
                if ids[other, column] >= 0 and ids[other, column] not in known:
                    scores.append(vectors[row, 0] @ vectors[other, column])
        losses.append(np.log(np.sum(np.exp(np.array(scores) - scores[0]))))
    documents = [vectors[row, c] for row in rows for c in (1, 2) if ids[row, c] >= 0]
    flops = [
        float(np.square(np.mean(some, axis=0)).sum()) for some in (vectors[rows, 0], documents)
    ]
    return {
        "ranking_loss": float(np.mean(losses)),
        "query_flops_loss": config.query_flops_weight * flops[0],
        "document_flops_loss": config.document_flops_weight * flops[1],
    }


@pytest.mark.parametrize(
    ("parts", "mesh"),
    [(1, None), (1, MeshConfig()), (4, None), (2, MeshConfig(data=4, fsdp=2))],
)
def test_losses_and_gradients_are_those_of_the_global_batch(parts: int, mesh: MeshConfig | None):
    def found(parts: int, mesh: MeshConfig | None) -> Any:
        placed = None if mesh is None else make_mesh(mesh)
        gradients = make_gradients(projected, Projected(CONFIG), LABELS, "float32", placed)
        return quickly(gradients)(parameters(), batch_of(parts), jax.random.key(0))

    losses, gradient = found(parts, mesh)
    expected = expected_losses(CONFIG)
    assert {name: float(x) for name, x in losses.items()} == pytest.approx(expected, rel=1e-5)
    assert min(expected.values()) > 0.01
    np.testing.assert_allclose(total(losses, Projected(CONFIG)), sum(expected.values()), rtol=1e-5)
    # Of one device and one microbatch nothing is exchanged, and JAX alone differentiates.
    whole = found(1, None)[1]
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_weights_of_flops_rise_with_the_square_of_the_step_in_training_alone():
    task = Projected(replace(CONFIG, flops_warmup_steps=4))
    optimizer = optax.sgd(0.0)
    step = make_train_step(
        projected, task, optimizer, lambda _: 0.0, LABELS, StepConfig(accumulation_steps=2), 0
    )
    expected = expected_losses(CONFIG)
    for number, share in ((0, 0.0), (1, 1 / 16), (3, 9 / 16), (4, 1.0), (9, 1.0)):
        state = TrainState(jnp.int32(number), parameters(), optimizer.init(parameters()))
        _, metrics = quickly(step)(state, batch_of(2))
        wanted = {name: x * share for name, x in expected.items() if name != "ranking_loss"}
        found = {name: float(metrics[name]) for name in wanted}
        assert found == pytest.approx(wanted, rel=1e-5)
        total = expected["ranking_loss"] + sum(wanted.values())
        assert float(metrics["loss"]) == pytest.approx(total, rel=1e-5)
    batch = {name: jnp.asarray(x[0]) for name, x in batch_of(1).items()}
    output = projected(parameters(), x=batch["x"], key=jax.random.key(0))
    sums, weights = task.loss_sums(output, batch), task.loss_weights(batch)
    assert {n: float(sums[n] / weights[n]) for n in sums} == pytest.approx(expected, rel=1e-5)


def test_flops_without_a_weight_are_no_loss():
    config = replace(
        CONFIG, query_flops_weight=0.0, document_flops_weight=0.0, flops_warmup_steps=3
    )
    task, batch = Projected(config), {name: jnp.asarray(x[0]) for name, x in batch_of(1).items()}
    output = projected(parameters(), x=batch["x"], key=jax.random.key(0))
    assert [*task.loss_sums(output, batch)] == [*task.loss_weights(batch)] == ["ranking_loss"]
    assert not task.counts_steps


def test_the_head_is_as_configured_or_the_models_own():
    assert SparseEmbedding().head == Head("masked_lm", splade=Splade("max", "relu"))
    config = SparseEmbeddingConfig(pooling="sum", activation="log1p_relu")
    assert config.task([]).head.splade == Splade("sum", "log1p_relu")
    assert config.task_of(SparseEmbedding().head).head.splade == Splade()
    with pytest.raises(UserError, match=r"columns\.label='score': a sparse embedding learns from"):
        SparseEmbeddingConfig(columns=EmbeddingColumns(label="score"))
    with pytest.raises(UserError, match="prompt='query': there are no prompts"):
        SparseEmbeddingConfig(prompt="query")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["one two three four five six"] * 3, vocab_size=60)


def examples(
    tokenizer: Tokenizer, values: Any, path: Path, text: str, *, labelled: bool = True
) -> EncodedSparseTexts:
    path.write_text(text, encoding="utf-8")
    config = parse_config(SparseEmbeddingConfig, values)
    records = tuple(config.read(str(path), labelled=labelled))
    return config.task(records).examples(records, tokenizer, Reading(12), labelled=labelled)


def test_positives_are_searched_by_dot_product_and_what_that_costs_is_told(tokenizer, tmp_path):
    text = "anchor\tpositive\thard\none\ttwo\tsix\none\tthree\t\nfour\ttwo\t\nfive\tsix\t\n"
    values = {"columns": {"negatives": ["hard"]}, "recall_at": [1, 2]}
    found = examples(tokenizer, values, tmp_path / "a.tsv", text)
    # As cosines "six" would be the nearest to "four", and as products it is "two".
    vectors = {
        "one": [1, 0, 0, 0],
        "two": [2, 0, 3, 0],
        "three": [1, 1, 0, 0],
        "four": [0, 0, 1, 1],
        "five": [0, 1, 0, 2],
        "six": [0, 0, 1, 1],
    }
    words = [line.split("\t") for line in text.splitlines()[1:]]
    dense = np.array([[vectors.get(word, [9] * 4) for word in row] for row in words], np.float32)
    rows = found.task.kept({"embeddings": dense, "row_ids": np.arange(4)})
    metrics = found.metrics({"ranking_loss": 0.5, "query_flops_loss": 0.25}, rows)
    # Documents: two, six, three. "one" finds two and three first; "four" finds two first;
    # "five" finds six first.
    assert (metrics["mrr"], metrics["recall_at_2"]) == (1.0, 1.0)
    assert metrics["recall_at_1"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert metrics["loss"] == 0.75
    assert metrics["query_active_dims"] == pytest.approx((1 + 2 + 2) / 3)
    assert metrics["document_active_dims"] == 2.0
    shares = np.array([1, 1, 1, 2]) / 3 @ np.array([2, 1, 2, 1]) / 3
    assert metrics["flops"] == pytest.approx(shares)
    assert found.tables(rows)[0].rows == ()


def test_predictions_are_tokens_with_their_weights_the_largest_first(tokenizer, tmp_path):
    found = examples(tokenizer, {}, tmp_path / "a.tsv", "anchor\none\ntwo\n", labelled=False)
    vocabulary = tokenizer.vocab()
    dense = np.zeros((2, len(vocabulary) + 1), np.float32)
    places = [vocabulary.index(word) for word in ("three", "two", "one")]
    dense[0, places], dense[0, -1] = [0.5, 2.0, 0.5], 1.0
    rows = found.task.kept({"embeddings": dense, "row_ids": np.arange(2)})
    first, second = (row["embedding"] for row in found.predictions(rows))
    assert list(first) == [
        "two",
        f"<{len(vocabulary)}>",
        *sorted(["one", "three"], key=vocabulary.index),
    ]
    assert [*first.values()] == [2.0, 1.0, 0.5, 0.5]
    assert second == {}


def test_sparse_vectors_are_searched_as_their_dense_products_are():
    draws = np.random.default_rng(0)
    dense = [np.maximum(draws.normal(size=(n, 20)) - 1, 0).astype(np.float32) for n in (300, 40)]
    dense[1][7] = 0
    queries, documents = (as_matrix(sparse_vectors(values)) for values in dense)
    assert queries.toarray().tolist() == dense[0].tolist()
    relevant = [sorted(draws.choice(40, 3, replace=False).tolist()) for _ in range(300)]
    left_out = [[next(n for n in range(40) if n not in some)] for some in relevant]
    ranks = ranks_by_product(queries, documents, relevant, left_out)
    scores = dense[0].astype(float) @ dense[1].T.astype(float)
    for row, wanted, without, found in zip(scores, relevant, left_out, ranks, strict=True):
        others = np.delete(row, [*wanted, *without])
        best = np.sort(row[wanted])[::-1]
        assert found.tolist() == [int((others >= x).sum()) + 1 + n for n, x in enumerate(best)]
    assert active_dims(queries) == pytest.approx((dense[0] > 0).sum() / 300)
    shared = np.mean([np.sum((a > 0) & (b > 0)) for a in dense[0] for b in dense[1]])
    assert math.isclose(products_of_a_pair(queries, documents), shared, rel_tol=1e-9)
