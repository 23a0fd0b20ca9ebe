"""Gradual unfreezing: which parameters are trained from which step on."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

from annotated_types import Ge

from jaxbert.errors import UserError
from jaxbert.optim.groups import FROZEN, TRAINED, depth, depth_group
from jaxbert.tree import check_pattern, flat, map_with_path, matches, paths


@dataclass(frozen=True)
class UnfreezingConfig:
    """Parts of the model join the training one after the other (Howard and Ruder 2018).

    A run that ends, or an `at` that lists fewer steps than there are parts, leaves the rest frozen.
    """

    every: Annotated[int, Ge(1)] | Literal["epoch"] | None = None
    """Steps from one part to the next, or `epoch`."""
    at: tuple[Annotated[int, Ge(1)], ...] | None = None
    """Or: the updates done when each part joins, ascending."""
    order: Literal["top_down", "bottom_up"] | tuple[str, ...] = "top_down"
    """top_down: the head from the start, then layer by layer from the last one to the embeddings;
    bottom_up: embeddings first; or regular expressions of parameter paths, of which each is a
    part, and what matches none is trained from the start."""

    def __post_init__(self) -> None:
        if (self.every is None) == (self.at is None):
            raise UserError("unfreezing: give either every or at")
        if self.at is not None and [*self.at] != sorted(set(self.at)):
            raise UserError(f"unfreezing.at={[*self.at]}: expected ascending steps, each one once")


@dataclass(frozen=True)
class Stage:
    """What is trained from a step on."""

    first_step: int
    """Updates done before."""
    labels: Any
    """Of every parameter: FROZEN, TRAINED (from the start) or the name of the part it is in."""


def stages(
    config: UnfreezingConfig | None, labels: Any, num_steps: int, ends_epoch: Callable[[int], bool]
) -> tuple[Stage, ...]:
    """The stages that a run of `num_steps` comes to; `labels`: what is frozen all the way.

    `ends_epoch`: whether a step is the first after which every example was seen once more.
    Raises UserError where nothing would be trained at the start.
    """
    if config is None:
        return (Stage(0, labels),)
    parts = _parts(config, labels)
    if TRAINED not in {parts(path) for path, label in flat(labels).items() if label != FROZEN}:
        raise UserError(
            "unfreezing: nothing is trained at the start: freeze less, or leave out of "
            "unfreezing.order what begins, such as the head"
        )
    names = _present(parts, labels)
    if not names:
        raise UserError(
            "unfreezing: nothing is left to be unfrozen, for what optimizer.freeze and "
            "optimizer.freeze_layers name is frozen to the end: freeze less, or drop unfreezing"
        )
    begins = _first_steps(config, len(names), num_steps, ends_epoch)
    return tuple(
        Stage(begin, _labels(labels, parts, {TRAINED, *names[:count]}))
        for count, begin in enumerate((0, *begins))
    )


def _labels(labels: Any, part: Callable[[str], str], trained: set[str]) -> Any:
    def label(path: str, before: str) -> str:
        return part(path) if before != FROZEN and part(path) in trained else FROZEN

    return map_with_path(label, labels)


def _parts(config: UnfreezingConfig, labels: Any) -> Callable[[str], str]:
    """Path -> TRAINED, or the name of its part, which sort as they join."""
    if isinstance(config.order, tuple):
        patterns = config.order
        for pattern in patterns:
            check_pattern("unfreezing.order", pattern, paths(labels))

        def part(path: str) -> str:
            found = (place for place, pattern in enumerate(patterns) if matches([pattern], path))
            return next(map(_name, found), TRAINED)

        mine = set(map(part, paths(labels)))
        for place, pattern in enumerate(patterns):
            if _name(place) not in mine:
                raise UserError(
                    f"unfreezing.order: all that {pattern!r} matches is in parts before it: put "
                    "the narrower pattern first"
                )
        return part
    bottom_up = ["embeddings", *(f"layer_{layer}" for layer in range(depth(labels)))]
    order = bottom_up if config.order == "bottom_up" else bottom_up[::-1]
    return lambda path: (
        _name(order.index(depth_group(path))) if depth_group(path) in order else TRAINED
    )


def _name(place: int) -> str:
    return f"unfrozen_{place:03}"


def _present(part: Callable[[str], str], labels: Any) -> list[str]:
    """The parts that have parameters which are not frozen all the way, in order."""
    found = {part(path) for path, label in flat(labels).items() if label != FROZEN}
    return sorted(found - {TRAINED})


def _first_steps(
    config: UnfreezingConfig, count: int, num_steps: int, ends_epoch: Callable[[int], bool]
) -> list[int]:
    """When the parts join, as far as the run comes."""
    if config.at is not None:
        if len(config.at) > count:
            raise UserError(
                f"unfreezing.at={[*config.at]}: {len(config.at)} steps for {count} parts"
            )
        return [step for step in config.at if step < num_steps]
    steps = range(1, num_steps)
    if config.every == "epoch":
        return [*islice((step for step in steps if ends_epoch(step)), count)]
    assert config.every is not None
    return [*islice(steps[config.every - 1 :: config.every], count)]
