"""Examples of several texts: unpacked with an axis of texts, packed with a sequence for each."""

import numpy as np
import pytest

from jaxbert.data.buckets import BucketedRows
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.rows import LabelledRows
from jaxbert.data.stream import evaluation_batches
from jaxbert.errors import UserError

PAD_ID, LENGTH, TEXTS = 9, 48, 3


def features_of(num_examples, longest=12):
    """Examples of one to three texts."""
    draws = np.random.default_rng(num_examples)
    is_there = np.arange(TEXTS) < draws.integers(1, TEXTS + 1, (num_examples, 1))
    lengths = np.where(is_there, draws.integers(1, longest + 1, is_there.shape), 0)
    return {
        "input_ids": [draws.integers(10, 99, length) for length in lengths.ravel()],
        "token_type_ids": [np.arange(length) % 2 for length in lengths.ravel()],
        "text_ids": np.where(is_there, np.arange(is_there.size).reshape(is_there.shape), -1),
        "labels": np.arange(num_examples),
    }


def test_a_batch_is_the_rows_as_written_by_hand():
    features = {
        "input_ids": [[11, 12, 13], [14], [15, 16], []],
        "text_ids": [[0, 1], [2, -1]],
        "labels": [1, 0],
    }
    examples = EncodedExamples(features, pad_id=PAD_ID)
    batch = examples.padded(np.array([1, 0, -1]), 3)
    nothing = [PAD_ID] * 3
    assert {name: values.tolist() for name, values in batch.items()} == {
        "input_ids": [[[15, 16, 9], nothing], [[11, 12, 13], [14, 9, 9]], [nothing, nothing]],
        "token_type_ids": np.zeros((3, 2, 3), int).tolist(),
        "attention_mask": [
            [[1, 1, 0], [1, 0, 0]],
            [[1, 1, 1], [1, 0, 0]],
            [[1, 0, 0], [1, 0, 0]],
        ],
        "text_ids": [[2, -1], [0, 1], [-1, -1]],
        "labels": [0, 1, -100],
        "row_ids": [1, 0, -1],
        "weights": [1.0, 1.0, 0.0],
    }
    (packed,) = evaluation_batches(PackedLabelledRows(examples, seed=0, length=6), 2)
    assert {name: values.tolist() for name, values in packed.items()} == {
        "input_ids": [[11, 12, 13, 14, 15, 16], [9] * 6],
        "token_type_ids": [[0] * 6, [0] * 6],
        "sequence_ids": [[1, 1, 1, 2, 3, 3], [0] * 6],
        "sequence_starts": [[[0, 3], [4, 0]], [[0, 0], [0, 0]]],
        "text_ids": [[[0, 1], [2, -1]], [[-1, -1], [-1, -1]]],
        "labels": [[1, 0], [-100, -100]],
        "row_ids": [[0, 1], [-1, -1]],
        "weights": [[1.0, 1.0], [0.0, 0.0]],
    }


@pytest.mark.parametrize("num_examples", [1, 2, 37])
def test_packed_rows_hold_every_text_as_unpacked_rows_do(num_examples):
    examples = EncodedExamples(features_of(num_examples), pad_id=PAD_ID)
    seen = []
    for batch in evaluation_batches(PackedLabelledRows(examples, seed=0, length=LENGTH), 4):
        for row, slot in zip(*np.nonzero(batch["row_ids"] >= 0), strict=True):
            number = batch["row_ids"][row, slot]
            alone = examples.padded(np.array([number]), LENGTH)
            for text in range(TEXTS):
                columns = np.flatnonzero(batch["sequence_ids"][row] == slot * TEXTS + text + 1)
                assert len(columns) == examples.text_lengths[number, text]
                first = columns[0] if len(columns) else 0
                assert batch["sequence_starts"][row, slot, text] == first
                for name in ("input_ids", "token_type_ids"):
                    expected = alone[name][0, text, : len(columns)]
                    np.testing.assert_array_equal(batch[name][row, columns], expected)
            for name in ("labels", "text_ids"):
                np.testing.assert_array_equal(batch[name][row, slot], alone[name][0])
            seen.append(number)
    assert sorted(seen) == list(range(num_examples))


def test_padding_counts_the_positions_of_all_texts():
    features = {"input_ids": [[1, 2, 3, 4], [1], [1, 2], []], "text_ids": [[0, 1], [2, -1]]}
    examples = EncodedExamples(features, pad_id=PAD_ID)
    assert LabelledRows(examples, seed=0, length=4).padding == pytest.approx(1 - 7 / 16)
    buckets = BucketedRows(examples, batch_size=1, longest=8, compilation=0)
    assert buckets.padding == pytest.approx(1 - 7 / 32)
    assert PackedLabelledRows(examples, seed=0, length=7).padding == pytest.approx(0)


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        ([[1], [1], [1]], [[0, 1]], r"input_ids: 3 rows, but text_ids has 2 texts an example"),
        ([[1], [1], [1], [1]], [[0, 1]], r"text_ids: 1 rows, but input_ids has 2"),
        ([[1], [1], [1], []], [[0, 1], [2, 3]], r"row 1 has no tokens"),
    ],
)
def test_texts_that_do_not_add_up_are_refused(ids, texts, message):
    with pytest.raises(UserError, match=message):
        EncodedExamples({"input_ids": ids, "text_ids": texts}, pad_id=PAD_ID)


def test_an_example_whose_texts_do_not_fit_one_packed_row_is_refused():
    features = {"input_ids": [[1], [1], [1, 2, 3], [1, 2, 3]], "text_ids": [[0, 1], [2, 3]]}
    examples = EncodedExamples(features, pad_id=PAD_ID)
    with pytest.raises(UserError, match=r"row 1: its 2 texts have 6 tokens, and a packed row has"):
        PackedLabelledRows(examples, seed=0, length=5)
