"""Tasks whose examples are several texts: packed rows, and rows on several devices."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params, make_apply, parameter_shapes
from jaxbert.nn.model import ModelOutput
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.sentence_embedding import SentenceEmbedding, SentenceEmbeddingConfig
from jaxbert.tasks.task import run_model
from jaxbert.tasks.text_rows import EmbeddingColumns
from jaxbert.training.gradients import make_gradients

CONFIG = EncoderConfig(
    vocab_size=31,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=60,
)
# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SCORED = SentenceEmbeddingConfig(columns=EmbeddingColumns(label="score"), dimensions=(4, 1))
RANKED = SentenceEmbeddingConfig(
    columns=EmbeddingColumns(negatives=("c",)), symmetric=True, dimensions=(4, 1)
)


def table(*, are_scores: bool) -> EncodedExamples:
    """Seven examples of two or three texts; the last has the positive of the first."""
    draws = np.random.default_rng(0)
    text_ids = np.arange(21).reshape(7, 3)
    text_ids[[1, 4], 2] = -1
    text_ids[6, 1] = text_ids[0, 1]
    ids = [draws.integers(5, 31, draws.integers(2, 9)) for _ in range(21)]
    labels = draws.uniform(0, 1, 7) if are_scores else draws.integers(0, 2, 7)
    features = {
        "input_ids": [ids[number] if number >= 0 else [] for number in text_ids.ravel()],
        "text_ids": text_ids,
        "labels": labels,
    }
    return EncodedExamples(features, pad_id=0)


@pytest.mark.parametrize(
    "task", [MultipleChoice(), SentenceEmbedding(RANKED)], ids=["choices", "embeddings"]
)
def test_packed_rows_have_the_loss_and_the_outputs_of_padded_ones(task: Any):
    examples = table(are_scores=False)
    packed = PackedLabelledRows(examples, seed=0, length=60)
    apply, draws = make_apply(CONFIG, task.head), np.random.default_rng(1)
    shapes = parameter_shapes(CONFIG, task.head).items()
    values = {name: draws.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes}
    params = unflatten_dict(values, sep="/")

    @quickly
    def sums(params: Any, batch: Any) -> Any:
        output = run_model(apply, params, batch, inputs=task.model_inputs)
        return task.loss_sums(output, batch), task.loss_weights(batch), task.row_outputs(output)

    padded = examples.padded(np.array([0, 1, 2, 3, 4, 5, 6, -1]), 12)
    rows = packed.evaluation_rows(np.array([*range(packed.num_rows), -1]))
    assert packed.num_rows < 7
    expected, found = sums(params, padded), sums(params, rows)
    assert float(expected[1]["loss"]) == float(found[1]["loss"]) == 7
    np.testing.assert_allclose(found[0]["loss"], expected[0]["loss"], rtol=1e-5)
    assert float(found[0]["loss"]) > 0
    [name] = found[2]
    for row, slot in zip(*np.nonzero(rows["row_ids"] >= 0), strict=True):
        number = rows["row_ids"][row, slot]
        is_there = padded["text_ids"][number] >= 0
        ours, theirs = found[2][name][row, slot][is_there], expected[2][name][number][is_there]
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


class Projected(SentenceEmbedding):
    model_inputs = ("x",)


def projected(params: Any, *, x: jax.Array, key: jax.Array) -> ModelOutput:
    dense = params["pooler"]["dense"]
    return ModelOutput(jnp.zeros((1, 1, 1)), x @ dense["kernel"] + dense["bias"][None, None])


def gradients_of(config: SentenceEmbeddingConfig, batch: Any, mesh: Any = None) -> Any:
    """Losses, and gradients of a layer that makes vectors of [microbatches, rows, texts, 6]."""
    kernel = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    params = {"pooler": {"dense": {"kernel": kernel, "bias": np.ones(4, np.float32)}}}
    labels = jax.tree.map(lambda _: "head", params)
    gradients = make_gradients(projected, Projected(config), labels, "float32", mesh)
    return quickly(gradients)(params, batch, jax.random.key(0))


def assert_same_gradients(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found[0]["loss"], expected[0]["loss"], rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def ranked_batch(parts: int) -> dict[str, np.ndarray]:
    """16 rows of three texts as so many microbatches; some texts are equal, one is not there."""
    draws = np.random.default_rng(0)
    text_ids = np.arange(48).reshape(16, 3)
    text_ids[9, 1], text_ids[3, 2], text_ids[14, 0] = text_ids[2, 1], -1, text_ids[5, 0]
    batch = {
        "x": draws.normal(size=(16, 3, 6)),
        "text_ids": text_ids,
        "row_ids": np.where(np.arange(16) == 12, -1, np.arange(16)),
    }
    kinds = {"x": np.float32, "text_ids": np.int32, "row_ids": np.int32}
    return {
        name: values.reshape(parts, -1, *values.shape[1:]).astype(kinds[name])
        for name, values in batch.items()
    }


@pytest.mark.parametrize(
    ("parts", "mesh"), [(1, MeshConfig()), (4, None), (2, MeshConfig(data=4, fsdp=2))]
)
def test_negatives_are_those_of_all_devices_and_microbatches(parts: int, mesh: MeshConfig | None):
    placed = None if mesh is None else make_mesh(mesh)
    found = gradients_of(RANKED, ranked_batch(parts), placed)
    assert_same_gradients(found, gradients_of(RANKED, ranked_batch(1)))


def test_microbatches_of_cut_vectors_with_scores_add_up():
    draws = np.random.default_rng(0)
    batch = {
        "x": draws.normal(size=(8, 2, 6)).astype(np.float32),
        "labels": draws.uniform(0, 1, 8).astype(np.float32),
        "row_ids": np.where(np.arange(8) == 1, -1, np.arange(8)).astype(np.int32),
    }
    split, whole = (
        {name: array.reshape(parts, -1, *array.shape[1:]) for name, array in batch.items()}
        for parts in (2, 1)
    )
    assert_same_gradients(gradients_of(SCORED, split), gradients_of(SCORED, whole))


def test_microbatches_of_texts_that_are_compared_take_the_memory_of_one():
    task = SentenceEmbedding(RANKED)
    params = abstract_params(CONFIG, task.head)
    labels = jax.tree.map(lambda _: "head", params)
    gradients = make_gradients(make_apply(CONFIG, task.head), task, labels, "float32", None)

    def temporary(parts: int) -> int:
        rows, texts = (parts, 64 // parts), (parts, 64 // parts, 3)
        batch = {
            "input_ids": jax.ShapeDtypeStruct((*texts, 12), jnp.int32),
            "attention_mask": jax.ShapeDtypeStruct((*texts, 12), jnp.int32),
            "text_ids": jax.ShapeDtypeStruct(texts, jnp.int32),
            "row_ids": jax.ShapeDtypeStruct(rows, jnp.int32),
        }
        lowered = quickly(gradients).lower(params, batch, jax.random.key(0))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(8) < temporary(1) / 3
