"""Loading of configurations: YAML into frozen dataclasses, with dotted overrides."""

import copy
import dataclasses
import itertools
import math
import re
import types
import typing
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jaxbert.elsewhere import ELSEWHERE
from jaxbert.errors import UserError, kind_of, nearest
from jaxbert.yaml_values import apply_override, dumped, plain, read_values

if TYPE_CHECKING:
    import pydantic

T = TypeVar("T")

_MEMBERS = {"str", "int", "float", "bool"}
"""What Pydantic calls the members of a union that have no more to them."""


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file into `cls` and applies `dotted.key=value` overrides.

    Raises UserError for a missing file, bad YAML, an unknown key (with the nearest valid one)
    and a value of the wrong type or range; the message names file and key.
    """
    return parse_config(cls, read_values(path), overrides, origin=str(path))


def parse_config(
    cls: type[T], values: Any, overrides: Sequence[str] = (), *, origin: str = "configuration"
) -> T:
    """Validates plain values (what YAML gives) into `cls`; see `load_config`."""
    import pydantic

    values = given_values(cls, values, overrides, origin=origin)
    try:
        config: T = _adapter(cls).validate_python(values)  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        lines = [_readable(detail) for detail in _of_the_kind(error.errors())]
        raise UserError(f"{origin}: " + "; ".join(lines)) from None
    _check_numbers(values, config, origin, "")
    return config


@lru_cache(maxsize=32)
def _adapter(cls: Any) -> "pydantic.TypeAdapter[Any]":
    """Made once: it takes a hundred times as long as what it is used for."""
    import pydantic

    return pydantic.TypeAdapter(cls)


def given_values(
    cls: type, values: Any, overrides: Sequence[str] = (), *, origin: str = "configuration"
) -> dict[str, Any]:
    """What the user says, without any default: a copy of `values` with the overrides in it."""
    if not isinstance(values, dict):
        raise UserError(f"{origin}: expected keys and values, found {kind_of(values)}")
    values = copy.deepcopy(values)
    _check_keys(cls, values, origin, "")
    for override in overrides:
        apply_override(values, override)
    _check_keys(cls, values, "command line", "")
    return values


def to_values(config: Any) -> dict[str, Any]:
    """A configuration as plain values, the inverse of `parse_config`."""
    return plain(dataclasses.asdict(config))


def chosen_values(config: Any) -> dict[str, Any]:
    """What in a configuration is not the default, as plain values that `parse_config` completes."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    defaults = {field.name: _default_value(field) for field in dataclasses.fields(config)}
    return {
        name: _chosen(value, defaults[name])
        for name, value in values.items()
        if value != defaults[name]
    }


def _chosen(value: Any, default: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_chosen(item, None) for item in value]
    if isinstance(value, dict):
        return {key: _chosen(item, None) for key, item in value.items()}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return plain(value)
    kind = getattr(value, "kind", None) if type(value) is not type(default) else None
    return ({} if kind is None else {"kind": kind}) | chosen_values(value)


def completed(cls: type, values: Any) -> Any:
    """Plain values that an earlier version wrote, with the defaults of the keys that came since.

    A key that comes later has what was done before it as its default. Values that are no longer
    valid are given back as they are.
    """
    try:
        return to_values(parse_config(cls, values))
    except UserError:
        return values


def to_yaml(config: Any) -> str:
    """A configuration as YAML, the inverse of `load_config`."""
    return dumped(to_values(config))


def json_schema(cls: type) -> dict[str, Any]:
    """JSON schema of a configuration class, for editors; descriptions are what fields say."""

    schema = _adapter(cls).json_schema()
    for section in _sections(cls):
        described = schema if section is cls else schema["$defs"][section.__name__]
        for name, text in field_texts(section).items():
            described["properties"][name]["description"] = text
    return schema


def field_texts(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass, by name, inherited fields among them.

    Python keeps no such strings: they are read from the source, which takes a while.
    """
    import ast
    import inspect
    import textwrap

    texts: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, reversed(cls.__mro__)):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in itertools.pairwise(definition.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[name] = inspect.cleandoc(text)
    return texts


def _check_keys(
    annotation: Any, values: Any, origin: str, prefix: str, default: Any = None
) -> None:
    """Raises UserError for a key that is unknown; writes down the `kind` that goes without saying.

    `default`: what the section is where nobody says anything.
    """
    members = dataclasses_in(annotation)
    if isinstance(values, list):
        for place, item in enumerate(values):
            _check_keys(annotation, item, origin, f"{prefix}{place}.")
    if not members or not isinstance(values, dict):
        return
    if len(members) > 1:
        members = [_member(members, values, origin, prefix, default)]
    hints = _fields(members[0])
    for key, value in values.items():
        if key not in hints:
            raise UserError(f"{origin}: unknown key '{prefix}{key}': {_meant(key, hints, prefix)}")
        _check_keys(hints[key], value, origin, f"{prefix}{key}.", _default(members[0], key))


def _meant(key: Any, hints: dict[str, Any], prefix: str) -> str:
    """A hint at the key that somebody had in mind."""
    paths = _dotted(hints)
    theirs = [path for path in ELSEWHERE.get(key, ()) if path in paths]
    if theirs and not prefix:
        of_all = ", and is of all devices together" if key.startswith("per_device") else ""
        return f"called '{theirs[0]}' here{of_all} (docs/migrating.md)"
    inner = [path for path in paths if path.endswith(f".{key}")]
    return f"did you mean '{prefix}{inner[0]}'?" if inner else nearest(str(key), [*hints])


def _check_numbers(given: Any, made: Any, origin: str, key: str) -> None:
    """Raises UserError for a number that is infinite, or that pydantic has made of yes or no."""
    if dataclasses.is_dataclass(made):
        made = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
    if isinstance(given, dict) and isinstance(made, dict):
        for name in (name for name in given if name in made):
            _check_numbers(given[name], made[name], origin, f"{key}.{name}".lstrip("."))
    elif isinstance(given, list) and isinstance(made, list | tuple):
        for place, (one, other) in enumerate(zip(given, made, strict=False)):
            _check_numbers(one, other, origin, f"{key}.{place}")
    elif isinstance(given, bool) and not isinstance(made, bool):
        raise UserError(f"{origin}: '{key}': expected a number (found {given!r})")
    elif isinstance(made, float) and not math.isfinite(made):
        raise UserError(f"{origin}: '{key}': expected a finite number (found {given!r})")


def _member(
    members: list[type], values: dict[Any, Any], origin: str, prefix: str, default: Any
) -> type:
    """The one of several sections that `kind` names, or else the default's where the keys fit."""
    kinds = {typing.get_args(_fields(member)["kind"])[0]: member for member in members}
    if "kind" not in values:
        others = {key for cls in members if cls is not type(default) for key in _fields(cls)}
        if default is None or any(key in others - {*_fields(type(default))} for key in values):
            raise UserError(f"{origin}: '{prefix}kind' is missing: {nearest('', [*kinds])}")
        values["kind"] = default.kind
    if values["kind"] not in [*kinds]:
        hint = nearest(str(values["kind"]), [*kinds])
        raise UserError(f"{origin}: '{prefix}kind': no {values['kind']!r}: {hint}")
    return kinds[values["kind"]]


def _default(cls: type, name: str) -> Any:
    """The default of a field that is a section; None where it has none."""
    [field] = [field for field in dataclasses.fields(cls) if field.name == name]
    default = _default_value(field)
    return default if dataclasses.is_dataclass(default) else None


def _default_value(field: "dataclasses.Field[Any]") -> Any:
    """MISSING where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _of_the_kind(details: list[Any]) -> list[Any]:
    """Without what is wrong with sections of other kinds than the one given, or follows."""
    others = [
        detail["loc"][:-1]
        for detail in details
        if detail["type"] == "literal_error" and detail["loc"][-1] == "kind"
    ]
    kept = [d for d in details if not any(d["loc"][: len(o)] == o for o in others)] or details
    # A mapping was not meant to be one of some words.
    kept = [d for d in kept if (d["type"], type(d["input"])) != ("literal_error", dict)] or kept
    # Pydantic finds a list too short where its members are wrong.
    return [d for d in kept if d["type"] != "too_short" or len(d["input"]) < d["ctx"]["min_length"]]


def _fields(annotation: Any) -> dict[str, Any]:
    """Name to annotation of all fields of the dataclasses in an annotation."""
    hints: dict[str, Any] = {}
    for cls in dataclasses_in(annotation):
        hints |= typing.get_type_hints(cls, include_extras=True)
    return hints


def _dotted(hints: dict[str, Any]) -> list[str]:
    """Every key below, such as `optimizer.learning_rate`."""
    found = []
    for name, annotation in hints.items():
        found += [name, *(f"{name}.{path}" for path in _dotted(_fields(annotation)))]
    return found


def _sections(cls: type) -> dict[type, None]:
    """A dataclass and all that are sections of it, in order."""
    found = {cls: None}
    for annotation in _fields(cls).values():
        for section in dataclasses_in(annotation):
            found |= _sections(section)
    return found


def dataclasses_in(annotation: Any) -> list[type]:
    """The classes of a section, several where `kind` chooses, or of a list's items."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return [annotation]
    containers = (typing.Union, types.UnionType, typing.Annotated, tuple)
    if typing.get_origin(annotation) in containers:
        return [found for part in typing.get_args(annotation) for found in dataclasses_in(part)]
    return []


def _readable(detail: Any) -> str:
    # Pydantic puts the member of a union in between, which nobody has written.
    parts = (part for part in map(str, detail["loc"]) if part not in _MEMBERS)
    named = (part for part in parts if re.fullmatch(r"[a-z0-9_]+", part))
    where = ".".join(named)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"'{where}' is missing"
    found = detail["input"]
    prefix = f"'{where}': " if where else ""
    shown = "" if detail["type"] == "value_error" else f" (found {found!r})"
    if detail["type"] == "string_type" and isinstance(found, int | float):
        # YAML reads more than true and false as a truth value.
        words = ", as yes, no, on and off need" if isinstance(found, bool) else ""
        shown += f": put it in quotes{words}"
    if detail["type"] == "tuple_type" and isinstance(found, str):
        shown += f": expected a list, such as [{found}]"
    if detail["type"] == "too_short":
        shown += ": leave it out, or name some"
    return f"{prefix}{message}{shown}"
