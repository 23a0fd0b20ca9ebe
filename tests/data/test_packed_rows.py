"""Packed rows of fine-tuning hold exactly the examples that unpacked rows hold."""

import numpy as np
import pytest

from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.mixed_packing import mixed_rows
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.packing import Limits
from jaxbert.data.stream import Phase, Stream, evaluation_batches

PAD_ID, LENGTH = 9, 32


def examples_of(num_examples, labels=None, longest=LENGTH):
    generator = np.random.default_rng(num_examples)
    ids = [
        generator.integers(10, 99, generator.integers(1, longest + 1)) for _ in range(num_examples)
    ]
    features = {
        "input_ids": ids,
        "token_type_ids": [np.arange(len(row)) % 2 for row in ids],
        "tags": [row % 7 for row in ids],
        "labels": np.arange(num_examples) if labels is None else labels,
        "vectors": generator.normal(size=(num_examples, 3)),
    }
    return EncodedExamples(features, pad_id=PAD_ID, per_token=["tags"])


def packed(examples, seed=0):
    return PackedLabelledRows(examples, seed=seed, length=LENGTH)


def assert_holds(batch, examples):
    """Every example of a packed batch is what the unpacked row of its number is; their numbers."""
    row_ids = batch["row_ids"]
    for row, slot in zip(*np.nonzero(row_ids >= 0), strict=True):
        number = row_ids[row, slot]
        alone = examples.padded(np.array([number]), LENGTH)
        columns = np.flatnonzero(batch["sequence_ids"][row] == slot + 1)
        assert columns[0] == batch["sequence_starts"][row, slot]
        assert (np.diff(columns) == 1).all()
        is_real = alone["attention_mask"][0] == 1
        for name in ("input_ids", "token_type_ids", "tags"):
            np.testing.assert_array_equal(batch[name][row, columns], alone[name][0, is_real])
        for name in ("labels", "vectors", "weights"):
            np.testing.assert_array_equal(batch[name][row, slot], alone[name][0])
    is_padding = batch["sequence_ids"] == 0
    assert (batch["input_ids"][is_padding] == PAD_ID).all()
    assert not batch["tags"][is_padding].any()
    assert (batch["sequence_ids"].max(axis=1) == (row_ids >= 0).sum(axis=1)).all()
    assert (batch["labels"][row_ids < 0] == -100).all()
    assert not batch["weights"][row_ids < 0].any()
    return row_ids[row_ids >= 0].tolist()


def test_a_packed_batch_is_the_rows_as_written_by_hand():
    features = {
        "input_ids": [[11, 12, 13], [14], [15, 16]],
        "labels": [[0, 1, 2], [3], [4, 5]],
        "classes": [7, 8, 9],
    }
    examples = EncodedExamples(features, pad_id=PAD_ID, per_token=["labels"])
    rows = PackedLabelledRows(examples, seed=0, length=4)
    (batch,) = evaluation_batches(rows, 3)
    expected = {
        "input_ids": [[15, 16, 9, 9], [11, 12, 13, 14], [9, 9, 9, 9]],
        "token_type_ids": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        "labels": [[4, 5, -100, -100], [0, 1, 2, 3], [-100, -100, -100, -100]],
        "sequence_ids": [[1, 1, 0, 0], [1, 1, 1, 2], [0, 0, 0, 0]],
        "sequence_starts": [[0, 0], [0, 3], [0, 0]],
        "classes": [[9, 0], [7, 8], [0, 0]],
        "row_ids": [[2, -1], [0, 1], [-1, -1]],
        "weights": [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]],
    }
    # Which of the rows comes first is no part of the contract.
    order = np.argsort([ids[0] if ids[0] >= 0 else 9 for ids in batch["row_ids"]])
    by_hand = np.argsort([ids[0] if ids[0] >= 0 else 9 for ids in expected["row_ids"]])
    assert set(batch) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(batch[name][order], np.array(values)[by_hand], err_msg=name)


@pytest.mark.parametrize("num_examples", [1, 2, 7, 40])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_epoch_visits_every_example_once(num_examples, batch_size):
    examples = examples_of(num_examples)
    rows = packed(examples)
    stream = Stream([Phase(rows, batch_size)])
    seen = [assert_holds(stream.batch(step), examples) for step in range(3 * rows.num_rows)]
    in_rows = [
        assert_holds(rows.rows(np.arange(row, row + 1), 0), examples)
        for row in range(3 * batch_size * rows.num_rows)
    ]
    assert [i for batch in seen for i in batch] == [i for row in in_rows for i in row]
    for first in range(0, len(in_rows), rows.num_rows):
        epoch = [i for row in in_rows[first : first + rows.num_rows] for i in row]
        assert sorted(epoch) == list(range(num_examples))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluation_holds_every_example_once(batch_size):
    examples = examples_of(23)
    batches = list(evaluation_batches(packed(examples), batch_size))
    assert {batch["input_ids"].shape for batch in batches} == {(batch_size, LENGTH)}
    seen = [i for batch in batches for i in assert_holds(batch, examples)]
    assert sorted(seen) == list(range(23))


def test_hosts_that_make_only_their_rows_make_the_same_batch():
    rows = packed(examples_of(30))
    numbers = np.array([3, 0, -1, 5, -1, -1])
    whole = rows.evaluation_rows(numbers)
    parts = [rows.evaluation_rows(numbers[a:b]) for a, b in ((0, 1), (1, 4), (4, 6))]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])


def test_another_seed_brings_other_examples_together_and_visits_rows_in_another_order():
    ids = [[number] * 8 for number in range(200)]
    examples = EncodedExamples({"input_ids": ids}, pad_id=PAD_ID)
    mates, orders = [], []
    for seed in (0, 1):
        rows = packed(examples, seed)
        numbers = np.arange(rows.num_rows)
        by_number = rows.evaluation_rows(numbers)["row_ids"].tolist()
        visited = rows.rows(numbers, 0)["row_ids"].tolist()
        mates.append({frozenset(ids) for ids in by_number})
        orders.append([by_number.index(ids) for ids in visited])
    assert len(mates[0] & mates[1]) < 5
    assert np.mean(np.equal(*orders)) < 0.2


def test_examples_as_long_as_a_row_have_it_to_themselves():
    examples = EncodedExamples({"input_ids": [[1] * LENGTH, [2], [3] * LENGTH]}, pad_id=PAD_ID)
    rows = packed(examples)
    assert rows.num_rows == 3
    assert rows.padding == pytest.approx(1 - 65 / 96)


def test_rows_are_filled():
    for longest, padding in ((20, 0.05), (10, 0.02), (4, 0.02)):
        assert packed(examples_of(3000, longest=longest)).padding < padding


def test_real_valued_and_vector_labels_are_zero_where_there_is_no_example():
    labels = np.random.default_rng(0).normal(size=(9, 2))
    (batch,) = evaluation_batches(packed(examples_of(9, labels)), 9)
    ids = batch["row_ids"]
    assert batch["labels"].dtype == np.float32
    np.testing.assert_allclose(batch["labels"][ids >= 0], labels[ids[ids >= 0]], rtol=1e-6)
    assert not batch["labels"][ids < 0].any()


def test_several_values_of_an_example_stay_together():
    draws = np.random.default_rng(4)
    labels = draws.random((20, 3)).astype(np.float32)
    ids = [draws.integers(1, 9, length) for length in draws.integers(3, 9, 20)]
    examples = EncodedExamples({"input_ids": ids, "labels": labels}, pad_id=0)
    rows = PackedLabelledRows(examples, seed=0, length=16)
    batch = rows.evaluation_rows(np.arange(rows.num_rows))
    there = batch["row_ids"] >= 0
    assert sorted(batch["row_ids"][there]) == list(range(20))
    np.testing.assert_array_equal(batch["labels"][there], labels[batch["row_ids"][there]])
    assert not batch["labels"][~there].any()


def test_a_row_of_a_sorted_file_holds_a_mixture():
    """Half of the file one label, then the other."""
    labels = np.arange(4000) // 2000
    rows = packed(examples_of(4000, labels, longest=20))
    (batch,) = evaluation_batches(rows, rows.num_rows)
    found = batch["labels"]
    neighbours = (found[:, :-1] >= 0) & (found[:, 1:] >= 0)
    alike = (found[:, :-1] == found[:, 1:])[neighbours]
    assert alike.mean() == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / alike.size))


def test_rows_hold_long_and_short_examples_alike():
    """What a row of short examples alone would hold three times."""
    examples = examples_of(4000, longest=20)
    rows = packed(examples)
    (batch,) = evaluation_batches(rows, rows.num_rows)
    ids = batch["row_ids"]
    sizes = (ids >= 0).sum(axis=1)
    assert sizes.std() < 0.5 * sizes.mean()
    lengths = np.where(ids >= 0, examples.num_tokens[ids], 0)
    means = lengths.sum(axis=1) / sizes
    # Of examples that are brought together by chance, the means vary this much.
    assert means.std() < 1.3 * examples.num_tokens.std() / np.sqrt(sizes.mean())


def test_examples_fill_the_row_where_they_leave_the_least_room():
    lengths = np.array([6, 4, 3, 7, 1, 8, 1, 1])
    plan = mixed_rows(lengths, Limits(10, 3))
    assert [row.tolist() for row in np.split(plan.examples, plan.starts[1:-1])] == [
        [0, 1],
        [2, 3],
        [4, 5, 6],
        [7],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_mixed_rows_have_every_example_once_within_their_limits(seed):
    draws = np.random.default_rng(seed)
    lengths = draws.integers(1, 1 + draws.integers(1, 40), draws.integers(1, 300))
    limits = Limits(40, int(draws.integers(1, 9)))
    plan = mixed_rows(lengths, limits)
    rows = np.split(plan.examples, plan.starts[1:-1])
    assert sorted(plan.examples) == list(range(len(lengths)))
    assert max(lengths[row].sum() for row in rows) <= limits.tokens
    assert 1 <= min(map(len, rows)) <= max(map(len, rows)) <= limits.examples
