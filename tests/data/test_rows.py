import numpy as np
import pytest

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.rows import LabelledRows, static_length
from jaxbert.data.stream import Phase, Stream, evaluation_batches
from jaxbert.errors import UserError

PAD_ID = 9


def features(num_rows, labels=None):
    generator = np.random.default_rng(num_rows)
    input_ids = [generator.integers(10, 99, generator.integers(1, 33)) for _ in range(num_rows)]
    types = [np.arange(len(row)) % 2 for row in input_ids]
    labels = np.arange(num_rows) if labels is None else labels
    return {"input_ids": input_ids, "token_type_ids": types, "labels": labels}


def rows_of(data, seed=0, length=32):
    return LabelledRows(EncodedExamples(data, pad_id=PAD_ID), seed=seed, length=length)


def stream_of(data, batch_size=4, seed=0):
    return Stream([Phase(rows_of(data, seed), batch_size)])


def test_a_batch_is_the_padded_rows_as_written_by_hand():
    data = {"input_ids": [[11, 12, 13], [14]], "token_type_ids": [[0, 1, 1], [0]], "labels": [1, 0]}
    (batch,) = evaluation_batches(rows_of(data, length=4), 3)
    expected = {
        "input_ids": [[11, 12, 13, 9], [14, 9, 9, 9], [9, 9, 9, 9]],
        "token_type_ids": [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        "attention_mask": [[1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]],
        "labels": [1, 0, -100],
        "row_ids": [0, 1, -1],
        "weights": [1.0, 1.0, 0.0],
    }
    assert {name: values.tolist() for name, values in batch.items()} == expected
    kinds = {name: values.dtype for name, values in batch.items()}
    assert kinds.pop("weights") == np.float32
    assert set(kinds.values()) == {np.dtype(np.int32)}


@pytest.mark.parametrize(("num_rows", "batch_size"), [(1, 1), (1, 3), (7, 3), (12, 4), (5, 8)])
def test_every_epoch_visits_every_row_once_across_batch_borders(num_rows, batch_size):
    batches = stream_of(features(num_rows), batch_size)
    steps = 3 * num_rows
    ids = np.concatenate([batches.batch(step)["row_ids"] for step in range(steps)])
    for epoch in ids.reshape(-1, num_rows):
        assert sorted(epoch.tolist()) == list(range(num_rows))


@pytest.mark.parametrize(("num_rows", "batch_size"), [(1, 1), (7, 3), (12, 4), (5, 8)])
def test_evaluation_counts_every_row_once_in_input_order(num_rows, batch_size):
    data = features(num_rows)
    seen = list(evaluation_batches(rows_of(data), batch_size))
    assert len(seen) == -(-num_rows // batch_size)
    assert {len(batch["row_ids"]) for batch in seen} == {batch_size}
    ids = np.concatenate([batch["row_ids"] for batch in seen])
    labels = np.concatenate([batch["labels"] for batch in seen])
    weights = np.concatenate([batch["weights"] for batch in seen])
    assert ids[ids >= 0].tolist() == list(range(num_rows))
    np.testing.assert_array_equal(labels, np.where(ids >= 0, ids, -100))
    np.testing.assert_array_equal(weights, ids >= 0)


def test_a_training_row_is_the_row_it_says_it_is():
    data = features(11)
    batches = stream_of(data, 5)
    for step in range(6):
        batch = batches.batch(step)
        for slot, row in enumerate(batch["row_ids"]):
            is_real = batch["attention_mask"][slot] == 1
            assert batch["input_ids"][slot][is_real].tolist() == data["input_ids"][row].tolist()
            types = batch["token_type_ids"][slot][is_real]
            assert types.tolist() == data["token_type_ids"][row].tolist()
            assert (batch["input_ids"][slot][~is_real] == PAD_ID).all()
            assert batch["labels"][slot] == row


def test_hosts_that_make_only_their_rows_make_the_same_batch():
    stream, rows = stream_of(features(13), 6), rows_of(features(13))
    numbers = np.array([12, 3, 0, -1, 5, -1])
    for whole, part in [
        (stream.batch(4), lambda a, b: stream.some(4, np.arange(a, b))),
        (rows.evaluation_rows(numbers), lambda a, b: rows.evaluation_rows(numbers[a:b])),
    ]:
        parts = [part(0, 1), part(1, 4), part(4, 6)]
        for name in whole:
            joined = np.concatenate([p[name] for p in parts])
            np.testing.assert_array_equal(joined, whole[name])


def test_another_seed_is_another_order():
    first = stream_of(features(50), 50).batch(0)["row_ids"]
    second = stream_of(features(50), 50, seed=1).batch(0)["row_ids"]
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_real_valued_labels_are_zero_in_filler_rows(shape):
    labels = np.random.default_rng(0).normal(size=shape)
    (batch,) = evaluation_batches(rows_of(features(5, labels)), 8)
    assert batch["labels"].dtype == np.float32
    np.testing.assert_allclose(batch["labels"][:5], labels, rtol=1e-6)
    assert not batch["labels"][5:].any()


def test_features_may_lack_types_and_labels():
    data = {"input_ids": features(3)["input_ids"]}
    batch = stream_of(data).batch(0)
    assert not batch["token_type_ids"].any()
    assert "labels" not in batch


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [([1], 128, 32), ([32, 5], 128, 32), ([33], 128, 64), ([200, 3], 128, 128), ([90], 100, 96)],
)
def test_the_static_length_is_the_longest_example_up_to_a_multiple_of_32(lengths, limit, expected):
    assert static_length(lengths, limit) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": []}, "no examples"),
        ({"labels": [1]}, "labels: 1 rows, but input_ids has 3"),
        (
            {"input_ids": (tokens := [[1], [2] * 33, [3]]), "token_type_ids": tokens},
            "row 1 has 33 tokens, more than length=32",
        ),
        ({"token_type_ids": [[0]] * 3}, "1 token_type_ids for"),
    ],
)
def test_features_that_do_not_fit_together_are_refused(change, message):
    data = {
        "input_ids": [[5, 6]] * 3,
        "token_type_ids": [[0, 0]] * 3,
        "labels": [0, 1, 2],
        **change,
    }
    with pytest.raises(UserError, match=message):
        rows_of(data)
