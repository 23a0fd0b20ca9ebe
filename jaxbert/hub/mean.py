"""The mean of trees of parameters, of which one is held at a time."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.errors import UserError
from jaxbert.tree import flat, map_with_path


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
