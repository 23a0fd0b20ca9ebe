"""Which parameters are trained, and with which rate and decay, by path."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from jaxbert.errors import UserError
from jaxbert.nn.lora import is_factor
from jaxbert.options import check_options
from jaxbert.tree import check_pattern, map_with_path, matches, paths

FROZEN, TRAINED = "frozen", "trained"

FreezeLayers = Annotated[int, Ge(0)] | Literal["all"]

NOT_DECAYED = (
    *(r".*bias$", r"(norm|attention_norm|mlp_norm|final_norm)/scale$"),
    *(r"mixture/.*", r"relative_bias/.*"),
)
"""Devlin et al. 2018: no weight decay on biases and layer norms."""

# In front there may be names of a person's own or of one of a pair of models, even `encoder`.
_ENCODER = re.compile(
    r"(?:^|/)encoder/(?:layers/(?P<layer>\d+)|embeddings|relative|relative_bias|convolution"
    r"|(?P<last>final_norm))/"
)


@dataclass(frozen=True)
class GroupConfig:
    """Parameters whose rate or decay differs."""

    params: str
    """Regular expression of parameter paths, e.g. `classifier` or `encoder/layers/(10|11)`."""
    learning_rate: Annotated[float, Gt(0)] | None = None
    """The schedule's peak, whatever the depth."""
    factor: Annotated[float, Gt(0)] | None = None
    """Or: times the rate that the depth gives."""
    weight_decay: Annotated[float, Ge(0)] | None = None
    """Biases and norms of the group have none all the same."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.learning_rate is not None and self.factor is not None:
            raise UserError(
                f"optimizer.groups: {self.params!r} has a learning_rate and a factor: give one"
            )
        if self.learning_rate is self.factor is self.weight_decay is None:
            raise UserError(
                f"optimizer.groups: {self.params!r} changes nothing: give learning_rate, factor or "
                "weight_decay"
            )


def depth_group(path: str) -> str:
    """`embeddings`, `layer_0`, `layer_1`, ... or `head` of a parameter path."""
    found = _ENCODER.search(path)
    if found is None or found["last"]:
        return "head"
    # What the layers share, such as relative positions or a bias of their scores, acts from the
    # first layer on, and is as deep as the embeddings.
    return f"layer_{found['layer']}" if found["layer"] else "embeddings"


def in_encoder(path: str) -> bool:
    """Whether a parameter is one of the encoder's, its last norm included."""
    return _ENCODER.search(path) is not None


def depth(params: Any) -> int:
    """How many layers there are: of the deepest encoder, where there are several."""
    found = (_ENCODER.search(path) for path in paths(params))
    return max((int(one["layer"]) + 1 for one in found if one and one["layer"]), default=0)


def group_labels(
    params: Any, freeze: tuple[str, ...] = (), freeze_layers: FreezeLayers | None = None
) -> Any:
    """FROZEN for parameters that match a `freeze` pattern or lie in frozen layers, else TRAINED.

    Where there are low-rank factors (`nn/lora.py`) they are what is trained of the encoder.
    """
    names = paths(params)
    for pattern in freeze:
        check_pattern("optimizer.freeze", pattern, names)
    is_low, has_factors = _lowest(freeze_layers, depth(params)), any(map(is_factor, names))

    def label(path: str, _: Any) -> str:
        is_base = has_factors and in_encoder(path) and not is_factor(path)
        return FROZEN if is_base or is_low(path) or matches(freeze, path) else TRAINED

    return map_with_path(label, params)


def learning_rate_factors(num_layers: int, layer_decay: float) -> dict[str, float]:
    """Factor of every group: 1 for the head, times `layer_decay` for every step down.

    Layer i has decay^(num_layers - i), embeddings decay^(num_layers + 1). ELECTRA's code (Clark
    et al. 2020) starts one power lower: its last layer has decay^2.
    """
    factors = {"head": 1.0, "embeddings": layer_decay ** (num_layers + 1)}
    for layer in range(num_layers):
        factors[f"layer_{layer}"] = layer_decay ** (num_layers - layer)
    return factors


def rate_factor(
    learning_rate: float, layer_decay: float, groups: tuple[GroupConfig, ...], num_layers: int
) -> Callable[[str], float]:
    """Path -> what the rate of the head, `learning_rate` at its peak, is multiplied by."""
    by_depth = learning_rate_factors(num_layers, layer_decay)

    def factor(path: str) -> float:
        group = _group_of(groups, path)
        if group is not None and group.learning_rate is not None:
            return group.learning_rate / learning_rate
        own = 1.0 if group is None or group.factor is None else group.factor
        return own * by_depth[depth_group(path)]

    return factor


def decay_of(weight_decay: float, groups: tuple[GroupConfig, ...]) -> Callable[[str], float]:
    """Path -> weight decay."""

    def decay(path: str) -> float:
        group = _group_of(groups, path)
        own = weight_decay if group is None or group.weight_decay is None else group.weight_decay
        return own if is_decayed(path) else 0.0

    return decay


def is_decayed(path: str) -> bool:
    """Whether weight decay acts on a parameter."""
    return not matches(NOT_DECAYED, path)


def check_groups(groups: tuple[GroupConfig, ...], params: Any) -> None:
    """Raises UserError for a group that would change nothing."""
    for group in groups:
        check_pattern("optimizer.groups", group.params, paths(params))
        mine = [path for path in paths(params) if _group_of(groups, path) is group]
        if not mine:
            raise UserError(
                f"optimizer.groups: all that {group.params!r} matches is in groups before it: put "
                "the narrower pattern first"
            )
        if group.weight_decay and not any(map(is_decayed, mine)):
            raise UserError(
                f"optimizer.groups: {group.params!r} are biases and norms, which have no "
                "weight_decay"
            )


def check_has_encoder(option: str, params: Any) -> None:
    """Raises UserError for an option that goes by depth where no path says how deep it is."""
    if all(depth_group(path) == "head" for path in paths(params)):
        raise UserError(
            f"{option}: no parameter is called encoder/layers/{{i}}/... or encoder/embeddings/..., "
            f"so that it would change nothing; the first one is {next(iter(paths(params)), None)!r}"
        )


def _lowest(layers: FreezeLayers | None, num_layers: int) -> Callable[[str], bool]:
    """Whether a path lies in the embeddings or the lowest layers, or the encoder altogether."""
    if layers is None:
        return lambda path: False
    if layers == "all":
        return in_encoder
    if layers > num_layers:
        raise UserError(f"optimizer.freeze_layers={layers}: the model has {num_layers} layers")
    low = {"embeddings", *(f"layer_{layer}" for layer in range(layers))}
    return lambda path: depth_group(path) in low


def _group_of(groups: tuple[GroupConfig, ...], path: str) -> GroupConfig | None:
    return next((group for group in groups if matches([group.params], path)), None)
