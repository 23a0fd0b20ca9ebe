"""Functions over parameter trees by path: the one mechanism behind sharding, decay, freezing."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.errors import UserError, nearest

_OF_VARIABLE = jax.tree_util.GetAttrKey("value")


def path_name(path: tuple[Any, ...]) -> str:
    """`encoder/layers/0/mlp/up/kernel` of a JAX key path, in an `nnx.State` too.

    There the array is the `value` of a variable, which has the name.
    """
    path = path[:-1] if path[-1:] == (_OF_VARIABLE,) else path
    return jax.tree_util.keystr(path, simple=True, separator="/")


def map_with_path(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Maps `function(path, leaf, ...)` over a tree."""
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(path_name(path), *leaves), tree, *rest
    )


def paths(tree: Any) -> list[str]:
    """The path of every leaf, in tree order."""
    return [*flat(tree)]


def flat(tree: Any) -> dict[str, Any]:
    """A tree as one dict by path, in tree order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def matches(patterns: Iterable[str], path: str) -> bool:
    """Whether any regular expression fits whole names of `path`: `layers/1` is not layer 10."""
    return any(re.search(of_whole_names(pattern), path) for pattern in patterns)


def of_whole_names(pattern: str) -> str:
    """A regular expression of names as one that is searched for in a path."""
    return rf"(?:^|/)(?:{pattern})(?:/|$)"


def mean(trees: Iterable[Any], weights: Sequence[float] | None = None) -> Any:
    """The mean of trees of arrays, weighted or not, as arrays of NumPy.

    Trees are taken one by one, so that of those that a generator reads one is held at a time,
    beside the sums: float64, divided and rounded once to the dtype of the leaf. Raises UserError
    where a tree has other leaves or shapes than the first one, or another value of a leaf that is
    not floating; for no tree, and where `weights` are not as many positive numbers.
    """
    first, sums, total, number = None, {}, 0.0, 0
    # Not by `enumerate`, which holds a tree until the next one is there.
    for tree in trees:
        number += 1
        weight = _weight(weights, number)
        if first is None:
            first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
            sums = {path: _begun(leaf) for path, leaf in flat(tree).items()}
        _add(sums, tree, weight, number)
        total += weight
        del tree
    if first is None or (weights is not None and len(weights) != number):
        raise UserError(f"a mean of {number} trees with weights={weights}: give one for each")

    def divided(path: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        found = sums.pop(path)
        return (found / total).astype(leaf.dtype) if _is_floating(leaf) else found

    return map_with_path(divided, first)


def check_pattern(
    name: str, pattern: str, names: Sequence[str], *, what: str = "parameter"
) -> None:
    """Raises UserError where a pattern is no regular expression or matches none of the paths."""
    try:
        re.compile(pattern)
        re.compile(of_whole_names(pattern))
    except re.error as error:
        # Flags of the whole, (?i)bias, have no place within the expression that is searched for.
        hint = "; write flags as (?i:bias)" if "global flags" in error.msg else ""
        raise UserError(f"{name}: {pattern!r} is not a regular expression: {error}{hint}") from None
    if not any(matches([pattern], path) for path in names):
        # The names at all depths: `encoder/layer/3` is near to `encoder/layers/3`.
        parts = [path.split("/") for path in names]
        prefixes = {"/".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}
        raise UserError(f"{name}: {pattern!r} matches no {what}: {nearest(pattern, [*prefixes])}")


def num_elements(tree: Any) -> int:
    """Number of array elements in a tree (of arrays or abstract arrays)."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _weight(weights: Sequence[float] | None, number: int) -> float:
    if weights is None:
        return 1.0
    weight = weights[number - 1] if number <= len(weights) else math.nan
    if not 0 < weight < math.inf:
        raise UserError(f"weights={[*weights]}: expected a positive number for each of the trees")
    return weight


def _is_floating(leaf: Any) -> bool:
    # NumPy does not know that bfloat16 is.
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _begun(leaf: Any) -> np.ndarray:
    return np.zeros(leaf.shape, np.float64) if _is_floating(leaf) else np.asarray(leaf)


def _add(sums: dict[str, np.ndarray], tree: Any, weight: float, number: int) -> None:
    leaves = {path: np.asarray(leaf) for path, leaf in flat(tree).items()}
    for path in sums | leaves:
        was, now = (
            list(some[path].shape) if path in some else "not there" for some in (sums, leaves)
        )
        if was != now:
            raise UserError(f"tree {number} has another {path} than the first: {now}, not {was}")
        if _is_floating(leaves[path]):
            sums[path] += weight * leaves[path].astype(np.float64)
        elif not np.array_equal(sums[path], leaves[path]):
            raise UserError(f"tree {number} has other numbers in {path} than the first one")
