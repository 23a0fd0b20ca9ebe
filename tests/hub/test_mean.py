import weakref
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.hub.mean import mean


def test_a_mean_is_rounded_once():
    """In float32 the sum of 1e8 and small numbers loses these."""
    values = np.float32([1e8, 1.25, -1e8, 0.75])
    found = mean({"kernel": x, "count": np.int32(3)} for x in values[:, None])
    assert (found["kernel"], found["kernel"].dtype) == (np.float32([0.5]), np.float32)
    assert found["count"] == 3
    halves = jnp.bfloat16([1.0]), jnp.bfloat16([2.0])
    assert mean(halves, [1, 3]).dtype == jnp.bfloat16
    assert mean(halves, [1, 3]) == 1.75


def test_of_trees_that_are_read_for_a_mean_one_is_held():
    held: list[Any] = []

    def read() -> Iterator[dict[str, np.ndarray]]:
        for number in range(3):
            assert all(leaf() is None for leaf in held)
            tree = {"bias": np.full(5, number, np.float32)}
            held.append(weakref.ref(tree["bias"]))
            yield tree
            del tree

    assert mean(read())["bias"].tolist() == [1.0] * 5
    assert len(held) == 3


@pytest.mark.parametrize(
    ("trees", "weights", "message"),
    [
        (
            [{"a": np.ones(2)}, {"a": np.ones(3)}],
            None,
            r"tree 2 .* a than the first: \[3\], not \[2\]",
        ),
        ([{"a": np.ones(2)}, {}], None, r"another a .*: not there, not \[2\]"),
        ([{"a": np.int32(1)}, {"a": np.int32(2)}], None, "tree 2 has other numbers in a"),
        ([{}], [1, 2], "a mean of 1 trees with weights="),
        ([], None, "a mean of 0 trees"),
        ([{}, {}], [1], "a positive number for each"),
        ([{}, {}], [1, 0], "a positive number for each"),
    ],
)
def test_what_has_no_mean_is_refused(trees: Any, weights: Any, message: str):
    with pytest.raises(UserError, match=message):
        mean(trees, weights)
