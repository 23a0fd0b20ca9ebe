import weakref
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.tree import map_with_path, matches, mean, num_elements, path_name, paths

TREE = {
    "encoder": {"layers": {"10": {"kernel": jnp.ones((2, 3))}, "2": {"kernel": jnp.zeros(4)}}},
    "bias": jnp.zeros(()),
}


def test_paths_are_names_joined_by_slashes_in_the_order_of_the_leaves():
    assert paths(TREE) == ["bias", "encoder/layers/10/kernel", "encoder/layers/2/kernel"]
    assert [leaf.shape for leaf in jax.tree.leaves(TREE)] == [(), (2, 3), (4,)]


def test_a_path_may_lead_through_tuples_and_named_tuples():
    (path, _), *_ = jax.tree_util.tree_leaves_with_path(({"mu": [TREE]},))
    assert path_name(path) == "0/mu/0/bias"


def test_mapping_sees_every_path_and_the_leaves_of_further_trees():
    doubled = jax.tree.map(lambda x: 2 * x, TREE)
    found = map_with_path(lambda path, x, y: (path, float(x.sum() + y.sum())), TREE, doubled)
    assert found["encoder"]["layers"]["10"]["kernel"] == ("encoder/layers/10/kernel", 18.0)


@pytest.mark.parametrize(
    ("pattern", "is_match"),
    [
        ("encoder", True),
        ("layers/1", True),
        ("layers/1/mlp/up/kernel", True),
        ("up|down", True),
        (r"layers/\d+/mlp", True),
        (r".*kernel$", True),
        ("kernel", True),
        ("layers/10", False),
        ("ncoder", False),
        ("mlp/u", False),
        ("encoder/mlp", False),
        ("kernel/scale", False),
    ],
)
def test_a_pattern_matches_whole_names(pattern: str, is_match: bool):
    assert matches([pattern], "encoder/layers/1/mlp/up/kernel") == is_match
    assert matches(["no such name", pattern], "encoder/layers/1/mlp/up/kernel") == is_match


def test_no_pattern_matches_nothing():
    assert not matches([], "encoder")


def test_elements_are_counted_in_arrays_and_abstract_arrays():
    assert num_elements(TREE) == 11
    assert num_elements(jax.eval_shape(lambda: TREE)) == 11
    assert num_elements({"a": np.zeros((3, 0))}) == 0


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
