"""Parameter groups by depth: embeddings, each layer, head."""

import re
from typing import Any

from jaxbert.errors import UserError
from jaxbert.tree import map_with_path, matches, paths

FROZEN = "frozen"

NOT_DECAYED = (r".*bias$", r"(norm|attention_norm|mlp_norm|final_norm)/scale$", r"mixture/.*")
"""Devlin et al. 2018: no weight decay on biases and layer norms."""


def depth_group(path: str) -> str:
    """`embeddings`, `layer_0`, `layer_1`, ... or `head` of a parameter path."""
    # A pair of models, such as a generator and a discriminator, has the name of each in front.
    path = path[path.find("encoder/") :] if "encoder/" in path else path
    if layer := re.match(r"encoder/layers/(\d+)/", path):
        return f"layer_{layer[1]}"
    # What the layers share, such as relative positions, is as deep as the embeddings.
    is_shared = path.startswith("encoder/") and not path.startswith("encoder/final_norm/")
    return "embeddings" if is_shared else "head"


def depth(params: Any) -> int:
    """How many layers there are: of the deepest encoder, where there are several."""
    layers = (re.search(r"(?:^|/)encoder/layers/(\d+)/", path) for path in paths(params))
    return max((int(layer[1]) + 1 for layer in layers if layer), default=0)


def group_labels(params: Any, freeze: tuple[str, ...] = ()) -> Any:
    """The group of every parameter; those that match a `freeze` pattern are in `frozen`."""
    names = paths(params)
    for pattern in freeze:
        _check_regular_expression(pattern)
        if not any(matches([pattern], name) for name in names):
            raise UserError(
                f"optimizer.freeze: {pattern!r} matches no parameter; they are named like "
                f"{names[0]!r} and {names[-1]!r}"
            )
    return map_with_path(
        lambda path, _: FROZEN if matches(freeze, path) else depth_group(path), params
    )


def learning_rate_factors(num_layers: int, layer_decay: float) -> dict[str, float]:
    """Factor of every group: 1 for the head, times `layer_decay` for every step down.

    Layer i has decay^(num_layers - i), embeddings decay^(num_layers + 1). ELECTRA's code (Clark
    et al. 2020) starts one power lower: its last layer has decay^2.
    """
    factors = {"head": 1.0, "embeddings": layer_decay ** (num_layers + 1)}
    for layer in range(num_layers):
        factors[f"layer_{layer}"] = layer_decay ** (num_layers - layer)
    return factors


def is_decayed(path: str) -> bool:
    """Whether weight decay acts on a parameter."""
    return not matches(NOT_DECAYED, path)


def _check_regular_expression(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"optimizer.freeze: {pattern!r} is not a regular expression: {error}"
        ) from None
