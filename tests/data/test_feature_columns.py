import numpy as np

from jaxbert.data.encoded import EncodedExamples

ROWS = [[5, 6, 7], [8], [9, 10]]
EXAMPLES = EncodedExamples(
    {"input_ids": ROWS, "tags": ROWS, "labels": [3, 4, 5]}, pad_id=1, per_token=["tags"]
)
NUMBERS = np.array([2, -1, 0])


def test_features_of_tokens_lie_beside_their_tokens():
    features = np.random.default_rng(0).normal(size=(6, 2, 4)).astype(np.float32)
    found = EXAMPLES.with_features(features).padded(NUMBERS, 4)
    expected = np.zeros((3, 4, 2, 4), np.float32)
    expected[0, :2], expected[2, :3] = features[4:], features[:3]
    np.testing.assert_array_equal(found.pop("features"), expected)
    plain = EXAMPLES.padded(NUMBERS, 4)
    assert found.keys() == plain.keys()
    assert all((found[name] == plain[name]).all() for name in plain)


def test_a_vector_stands_for_an_example_as_one_token():
    features = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    vectors = EXAMPLES.with_features(features)
    found = vectors.padded(NUMBERS, 1)
    np.testing.assert_array_equal(found["features"][[0, 2], 0], features[[2, 0]])
    assert not found["features"][1].any()
    assert found["attention_mask"].tolist() == [[1], [1], [1]]
    assert found["labels"].tolist() == [5, -100, 3]
    assert found["row_ids"].tolist() == [2, -1, 0]
    assert "tags" not in found
    assert EXAMPLES.lengths.tolist() == [3, 1, 2]
    assert vectors.lengths.tolist() == [1, 1, 1]
