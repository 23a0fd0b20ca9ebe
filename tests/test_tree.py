import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.tree import map_with_path, matches, num_elements, path_name, paths

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
