import numpy as np
import pytest

from jaxbert.data.rows import RowBatches, static_length
from jaxbert.errors import UserError

PAD_ID = 9


def features(num_rows, labels=None):
    generator = np.random.default_rng(num_rows)
    input_ids = [generator.integers(10, 99, generator.integers(1, 33)) for _ in range(num_rows)]
    types = [np.arange(len(row)) % 2 for row in input_ids]
    labels = np.arange(num_rows) if labels is None else labels
    return {"input_ids": input_ids, "token_type_ids": types, "labels": labels}


def batches_of(data, batch_size=4, seed=0):
    return RowBatches(data, batch_size=batch_size, seed=seed, pad_id=PAD_ID, length=32)


def test_a_batch_is_the_padded_rows_as_written_by_hand():
    data = {"input_ids": [[11, 12, 13], [14]], "token_type_ids": [[0, 1, 1], [0]], "labels": [1, 0]}
    batches = RowBatches(data, batch_size=3, seed=0, pad_id=PAD_ID, length=4)
    (batch,) = batches.evaluation_batches()
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
    batches = batches_of(features(num_rows), batch_size)
    steps = 3 * num_rows
    ids = np.concatenate([batches.batch(step)["row_ids"] for step in range(steps)])
    for epoch in ids.reshape(-1, num_rows):
        assert sorted(epoch.tolist()) == list(range(num_rows))


@pytest.mark.parametrize(("num_rows", "batch_size"), [(1, 1), (7, 3), (12, 4), (5, 8)])
def test_evaluation_counts_every_row_once_in_input_order(num_rows, batch_size):
    data = features(num_rows)
    batches = batches_of(data, batch_size)
    seen = list(batches.evaluation_batches())
    assert len(seen) == batches.num_evaluation_batches
    assert {len(batch["row_ids"]) for batch in seen} == {batch_size}
    ids = np.concatenate([batch["row_ids"] for batch in seen])
    labels = np.concatenate([batch["labels"] for batch in seen])
    weights = np.concatenate([batch["weights"] for batch in seen])
    assert ids[ids >= 0].tolist() == list(range(num_rows))
    np.testing.assert_array_equal(labels, np.where(ids >= 0, ids, -100))
    np.testing.assert_array_equal(weights, ids >= 0)


def test_a_training_row_is_the_row_it_says_it_is():
    data = features(11)
    batches = batches_of(data, 5)
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
    batches = batches_of(features(13), 6)
    for whole, part in [
        (batches.batch(4), lambda a, b: batches.rows(4, a, b)),
        (batches.evaluation_batch(2), lambda a, b: batches.evaluation_rows(2, a, b)),
    ]:
        parts = [part(0, 1), part(1, 4), part(4, 6)]
        for name in whole:
            joined = np.concatenate([p[name] for p in parts])
            np.testing.assert_array_equal(joined, whole[name])


def test_another_seed_is_another_order():
    first = batches_of(features(50), 50).batch(0)["row_ids"]
    second = batches_of(features(50), 50, seed=1).batch(0)["row_ids"]
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_real_valued_labels_are_zero_in_filler_rows(shape):
    labels = np.random.default_rng(0).normal(size=shape)
    batch = batches_of(features(5, labels), 8).evaluation_batch(0)
    assert batch["labels"].dtype == np.float32
    np.testing.assert_allclose(batch["labels"][:5], labels, rtol=1e-6)
    assert not batch["labels"][5:].any()


def test_features_may_lack_types_and_labels():
    data = {"input_ids": features(3)["input_ids"]}
    batch = batches_of(data).batch(0)
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
        ({"input_ids": [[1], [2] * 33, [3]]}, "row 1 has 33 tokens, more than length=32"),
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
        batches_of(data)
