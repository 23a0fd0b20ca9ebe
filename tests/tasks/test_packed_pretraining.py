"""Packed pretraining rows through a real encoder: every example as if it had a row of its own."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.task import run_model

sys.path.append(str(Path(__file__).parents[1] / "data"))
from corpora import PAD, numbered_store, random_lengths, vocabulary

LENGTH = 64
TASK = MaskedLanguageModelling("next_sentence")


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Eight rows of a corpus of short documents."""
    documents = random_lengths(0, 50, 6, 9)
    store = numbered_store(tmp_path_factory.mktemp("store") / "store", documents)
    config = PretrainingDataConfig(max_seq_length=LENGTH, packing=True)
    data = PretrainingData(store, config, 0, vocabulary=vocabulary(store.vocab_size))
    return data.rows(np.arange(8), 0)


@pytest.fixture(scope="module")
def model(batch):
    encoder = EncoderConfig(
        vocab_size=int(batch["input_ids"].max()) + 1,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LENGTH,
        initializer_range=0.3,
    )
    params = init_params(encoder, TASK.head, 0)
    apply = jax.jit(lambda params, batch: run_model(make_apply(encoder, TASK.head), params, batch))
    return lambda batch: apply(params, batch)


def alone(batch):
    """Every example of a packed batch in a row of its own, and its (row, slot)."""
    places = [
        (row, slot) for row, ids in enumerate(batch["sequence_ids"]) for slot in range(ids.max())
    ]
    shape, predictions = (len(places), LENGTH), batch["labels"].shape[1]
    made = {
        "input_ids": np.full(shape, PAD, np.int32),
        "attention_mask": np.zeros(shape, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "masked_lm_positions": np.zeros((len(places), predictions), np.int32),
        "labels": np.full((len(places), predictions), -100, np.int32),
        "next_sentence_label": np.zeros(len(places), np.int32),
    }
    for index, (row, slot) in enumerate(places):
        (columns,) = np.nonzero(batch["sequence_ids"][row] == slot + 1)
        made["input_ids"][index, : len(columns)] = batch["input_ids"][row, columns]
        made["token_type_ids"][index, : len(columns)] = batch["token_type_ids"][row, columns]
        made["attention_mask"][index, : len(columns)] = 1
        positions = batch["masked_lm_positions"][row]
        mine = np.isin(positions, columns) & (batch["labels"][row] != -100)
        made["masked_lm_positions"][index, : mine.sum()] = positions[mine] - columns[0]
        made["labels"][index, : mine.sum()] = batch["labels"][row, mine]
        made["next_sentence_label"][index] = batch["next_sentence_label"][row, slot]
    return made, places


def test_packed_examples_have_the_logits_that_they_have_alone(batch, model):
    single, places = alone(batch)
    assert len(places) > 2 * len(batch["input_ids"])
    packed, separate = model(batch), model(single)
    rows, slots = np.array(places).T
    np.testing.assert_allclose(
        np.asarray(packed.seq_relationship_logits)[rows, slots],
        separate.seq_relationship_logits,
        atol=1e-5,
    )
    # Both go through the examples in the order of the rows.
    is_used, is_single = batch["labels"] != -100, single["labels"] != -100
    np.testing.assert_array_equal(batch["labels"][is_used], single["labels"][is_single])
    np.testing.assert_allclose(
        np.asarray(packed.logits)[is_used], np.asarray(separate.logits)[is_single], atol=1e-5
    )


def test_packed_examples_weigh_what_they_weigh_alone(batch, model):
    single, _ = alone(batch)
    (sums, weights), (expected, counts) = (losses(model(b), b) for b in (batch, single))
    assert sums.keys() == expected.keys() == weights.keys()
    for name in sums:
        np.testing.assert_allclose(sums[name], expected[name], rtol=1e-5)
        assert float(weights[name]) == float(counts[name]) > 0


def losses(output, batch):
    on_device = {name: jax.numpy.asarray(values) for name, values in batch.items()}
    return TASK.loss_sums(output, on_device), TASK.loss_weights(on_device)
