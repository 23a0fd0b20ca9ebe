"""The losses of packed rows are those of their examples in rows of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.rows import LabelledRows
from jaxbert.data.stream import EvaluationRows
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.losses import IGNORED
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.task import real_tokens, run_model
from jaxbert.tasks.token_classification import TokenClassification
from jaxbert.training.step import make_evaluation_step

CONFIG = EncoderConfig(
    vocab_size=31,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=12,
    initializer_range=0.5,
)
IDS = np.random.default_rng(0).integers(5, 31, (3, 8)).astype(np.int32)
REAL = np.arange(8) < np.array([[7], [5], [8]])
UNPACKED = {
    "input_ids": np.where(REAL, IDS, 0),
    "attention_mask": REAL.astype(np.int32),
    "token_type_ids": (REAL & (np.arange(8) > 3)).astype(np.int32),
    "masked_lm_positions": np.array([[1, 6], [4, 0], [2, 7]], np.int32),
    "labels": np.array([[9, 8], [7, IGNORED], [6, 5]], np.int32),
    "next_sentence_label": np.array([1, 0, 0], np.int32),
}


def beside(name: str) -> np.ndarray:
    """The first two examples in one row of twelve, the third in the other."""
    values = UNPACKED[name]
    return np.stack([np.r_[values[0, :7], values[1, :5]], np.pad(values[2], (0, 4))])


PACKED = {
    "input_ids": beside("input_ids"),
    "token_type_ids": beside("token_type_ids"),
    "sequence_ids": np.array([[1] * 7 + [2] * 5, [1] * 8 + [0] * 4], np.int32),
    "sequence_starts": np.array([[0, 7], [0, 0]], np.int32),
    "masked_lm_positions": np.array([[1, 6, 11], [2, 7, 0]], np.int32),
    "labels": np.array([[9, 8, 7], [6, 5, IGNORED]], np.int32),
    "next_sentence_label": np.array([[1, 0], [0, IGNORED]], np.int32),
}


def as_jax(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(values) for name, values in batch.items()}


def test_pretraining_of_packed_rows_has_the_sums_of_its_examples():
    task = MaskedLanguageModelling()
    params, apply = init_params(CONFIG, task.head, 0), make_apply(CONFIG, task.head)

    @jax.jit
    def sums(params: Any, batch: Any) -> Any:
        output = run_model(apply, params, batch, inputs=task.model_inputs)
        losses, weights = task.loss_sums(output, batch), task.loss_weights(batch)
        return losses, weights, task.metric_sums(output, batch)

    expected, found = sums(params, as_jax(UNPACKED)), sums(params, as_jax(PACKED))
    assert float(expected[1]["next_sentence_loss"]) == 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


@pytest.mark.parametrize("is_regression", [False, True])
def test_a_packed_classifier_counts_the_examples_that_there_are(is_regression: bool):
    task = SequenceClassification(Regression() if is_regression else SingleLabel(("a", "b")))
    logits = np.random.default_rng(1).normal(size=(2, 3, len(task.labels))).astype(np.float32)
    row_ids = np.array([[4, 9, -1], [2, -1, -1]])
    labels = np.where(row_ids < 0, IGNORED, [[1, 0, 0], [1, 0, 0]])

    def sums(logits: np.ndarray, labels: np.ndarray, row_ids: np.ndarray) -> dict[str, Any]:
        batch = as_jax({"labels": labels, "row_ids": row_ids})
        output = ModelOutput(jnp.zeros((2, 9, 4)), logits=jnp.asarray(logits))
        return task.loss_sums(output, batch) | {"weight": task.loss_weights(batch)["loss"]}

    there = row_ids >= 0
    expected = sums(logits[there], labels[there], row_ids[there])
    found = sums(logits, labels, row_ids)
    assert float(found["weight"]) == 3
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)


def test_a_packed_tagger_has_the_losses_and_tags_of_its_examples():
    task = TokenClassification(("O", "B-a", "I-a"))
    lengths, draws = [7, 5, 8, 1, 3], np.random.default_rng(4)
    features = {
        "input_ids": [draws.integers(5, 31, length) for length in lengths],
        "labels": [draws.choice([IGNORED, 0, 1, 2], length) for length in lengths],
    }
    table = EncodedExamples(features, pad_id=0, per_token=("labels",))
    params, apply = init_params(CONFIG, task.head, 0), make_apply(CONFIG, task.head)
    step = jax.jit(make_evaluation_step(apply, task))

    def evaluated(rows: EvaluationRows) -> tuple[Any, Any]:
        numbers = np.arange(rows.num_evaluation_rows)
        sums, outputs = step(params, as_jax(rows.evaluation_rows(numbers)))
        owners = outputs.tokens["example"]
        return sums, [outputs.tokens["probabilities"][owners == i] for i in range(len(lengths))]

    packed = PackedLabelledRows(table, seed=0, length=12)
    assert packed.num_rows == 2
    expected = evaluated(LabelledRows(table, seed=0, length=8))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), evaluated(packed), expected
    )
    assert [len(tokens) for tokens in expected[1]] == lengths


def test_both_kinds_of_batches_tell_which_tokens_are_real():
    np.testing.assert_array_equal(real_tokens(UNPACKED), REAL)
    np.testing.assert_array_equal(real_tokens(PACKED).sum(axis=1), [12, 8])
    assert real_tokens(PACKED).dtype == bool
