import numpy as np
import pytest

from jaxbert.data.ragged import Ragged, filled, left_aligned


def test_flat_arrays_are_read_by_example():
    examples = Ragged(np.array([2, 1, 3]))
    assert examples.starts.tolist() == [0, 2, 3]
    assert examples.columns.tolist() == [0, 1, 0, 0, 1, 2]
    assert examples.spread(np.array([7, 8, 9])).tolist() == [7, 7, 8, 9, 9, 9]
    assert examples.spread(np.eye(3, dtype=int))[1].tolist() == [0, 0, 1, 0, 0, 0]
    assert examples.sums(np.array([1, 1, 0, 0, 1, 0], bool)).tolist() == [2, 0, 1]
    assert examples.among(np.array([0, 3, 4])).tolist() == [1, 0, 2]
    assert examples.padded(np.arange(6), -1).tolist() == [[0, 1, -1], [2, -1, -1], [3, 4, 5]]


def test_no_examples_have_no_tokens():
    none = Ragged(np.zeros(0, np.int64))
    for values in (none.starts, none.columns, none.sums(np.zeros(0, bool))):
        assert values.shape == (0,)
    assert none.padded(np.zeros(0), 0).shape == (0, 1)


def test_values_that_do_not_fit_their_row_are_refused():
    laid = left_aligned(np.arange(3), filled(np.array([0, 2, 1]), 2), 9)
    assert laid.tolist() == [[9, 9], [0, 1], [2, 9]]
    with pytest.raises(ValueError, match="assign 3 input values"):
        left_aligned(np.arange(3), filled(np.array([3, 0]), 2), 9)
