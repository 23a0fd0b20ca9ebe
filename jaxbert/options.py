"""Options that people make themselves, checked by what their annotations say."""

import dataclasses
import numbers
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from annotated_types import Ge, Gt, Le, Lt

from jaxbert.errors import UserError, nearest

_NUMBERS: dict[type, type] = {int: numbers.Integral, float: numbers.Real}


def check_options(config: Any) -> None:
    """For `__post_init__` of dataclasses that people make themselves, which pydantic never sees.

    Fields of a Literal type must have one of its values, all others their type (NumPy's numbers
    are numbers) within the bounds that are annotated, and lists become the tuples that are wanted;
    raises UserError, for a value of a Literal with the nearest, and for a text in place of a tuple
    of texts.
    """
    for field in dataclasses.fields(config):
        name, value, kinds = field.name, getattr(config, field.name), _kinds(field.type)
        if value is None and types.NoneType in kinds:
            continue
        items = next((typing.get_args(k)[0] for k in kinds if typing.get_origin(k) is tuple), None)
        if items is None:
            _check_option(name, value, kinds)
            continue
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise UserError(f"{name}={value!r}: expected a tuple or a list")
        # The class is frozen, and its instances are keys.
        object.__setattr__(config, name, tuple(value))
        for item in value:
            _check_option(name, item, _kinds(items))


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; of what is none itself."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _check_option(name: str, value: Any, kinds: tuple[Any, ...]) -> None:
    literals = [kind for kind in kinds if typing.get_origin(kind) is typing.Literal]
    choices = [choice for literal in literals for choice in typing.get_args(literal)]
    if value in choices:
        return
    plain = [kind.__origin__ if hasattr(kind, "__metadata__") else kind for kind in kinds]
    classes = tuple(_NUMBERS.get(kind, kind) for kind in plain if isinstance(kind, type))
    is_bool = isinstance(value, bool) and bool not in plain
    if not is_bool and isinstance(value, classes):
        _check_bounds(name, value, [b for kind in kinds for b in getattr(kind, "__metadata__", ())])
        return
    if choices:
        raise UserError(f"{name}={value!r}: {nearest(str(value), choices)}")
    expected = " or ".join(kind.__name__ for kind in plain if kind is not types.NoneType)
    raise UserError(f"{name}: {value!r} is {type(value).__name__}, expected {expected}")


def _check_bounds(name: str, value: Any, bounds: Sequence[Any]) -> None:
    rules = []
    for bound in bounds:
        match bound:
            case Gt(gt=limit):
                rules.append((value > limit, f"above {limit}"))
            case Ge(ge=limit):
                rules.append((value >= limit, f"at least {limit}"))
            case Lt(lt=limit):
                rules.append((value < limit, f"below {limit}"))
            case Le(le=limit):
                rules.append((value <= limit, f"at most {limit}"))
    if not all(holds for holds, _ in rules):
        raise UserError(f"{name}={value!r}: must be {' and '.join(rule for _, rule in rules)}")
