"""Functions over parameter trees by path: the one mechanism behind sharding, decay, freezing."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

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
