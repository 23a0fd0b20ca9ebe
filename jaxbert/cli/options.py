"""Every option of a configuration as Markdown: docs/options.md, from the dataclasses themselves."""

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import getdoc
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MinLen

from jaxbert.config import dataclasses_in, field_texts

_INTRODUCTION = """\
# Options of a configuration

A configuration is a YAML file of these keys, and any of them can be given on the command line with
its sections before it: `optimizer.learning_rate=3e-5`. In a section with a `kind`, that chooses
which other keys it has. `configs/` has files to start from, a run's `config.yaml` every option with
its value.

    jaxbert pretrain --schema=markdown > docs/options.md    # this page
    jaxbert finetune --schema                               # as JSON schema, for editors
"""
_HEADINGS = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}
_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any"}
_BOUNDS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}


@dataclasses.dataclass(frozen=True)
class _Option:
    """A row of a table; equal ones of several kinds are written once."""

    key: str
    takes: str
    default: str
    text: str
    sections: tuple[type, ...]


@dataclasses.dataclass
class _Section:
    path: str
    classes: tuple[type, ...]
    kinds: list[str]
    """Those of the section around it that have it; none: all."""


def page() -> str:
    """The text of docs/options.md."""
    from jaxbert.experiment.finetune_config import Finetune
    from jaxbert.experiment.pretrain import Pretrain

    sections: list[_Section] = []
    _collect(_Section("", (Pretrain, Finetune), []), sections)
    lines = [*_INTRODUCTION.splitlines(), *(line for each in sections for line in _lines(each))]
    return "\n".join(lines) + "\n"


def _collect(section: _Section, found: list[_Section]) -> None:
    """A section, and those in it after it; one that several kinds have once."""
    for other in found:
        if (other.path, other.classes) == (section.path, section.classes):
            other.kinds += [kind for kind in section.kinds if kind not in other.kinds]
            return
    found.append(section)
    common = _common(section.classes)
    for cls in section.classes:
        for option in _options(cls):
            if option.sections:
                kinds = section.kinds if option in common else [_kind(cls)]
                path = f"{section.path}.{option.key}".lstrip(".")
                _collect(_Section(path, option.sections, [*kinds]), found)


def _lines(section: _Section) -> Iterator[str]:
    common = _common(section.classes)
    kinds = ", ".join(f"`{kind}`" for kind in section.kinds)
    named = f"`{section.path}` of {kinds}" if kinds else f"`{section.path}`"
    yield from ("", f"## {named if section.path else 'Every run'}")
    is_choice = len(section.classes) > 1
    if not is_choice:
        yield from ("", *_text_of(section.classes[0]))
    yield from _table(common)
    for cls in section.classes if is_choice else ():
        own = [option for option in _options(cls) if option not in common and option.key != "kind"]
        kind = _kind(cls)
        yield from ("", f"### `kind: {kind}`" if section.path else f"## {_HEADINGS[kind]}")
        yield from ("", *_text_of(cls), *_table(own))


def _text_of(cls: type) -> list[str]:
    return (getdoc(cls) or "").splitlines()


def _kind(cls: type) -> str:
    return typing.get_args(typing.get_type_hints(cls)["kind"])[0]


def _common(classes: Sequence[type]) -> list[_Option]:
    first, *others = map(_options, classes)
    return [option for option in first if all(option in other for other in others)]


@cache
def _options(cls: type) -> tuple[_Option, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    texts = field_texts(cls)
    return tuple(
        _option(field, hints[field.name], texts.get(field.name))
        for field in dataclasses.fields(cls)
    )


def _option(field: "dataclasses.Field[Any]", hint: Any, text: str | None) -> _Option:
    sections = tuple(dataclasses_in(hint))
    if text is None and len(sections) == 1:
        text = _text_of(sections[0])[0]
    words = " ".join((text or "").split())
    return _Option(field.name, _type(hint), _default(field, sections), words, sections)


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return f"{_type(arguments[0])} {', '.join(map(_bound, arguments[1:]))}"
    if origin in (typing.Union, types.UnionType):
        # Several kinds of section are one word.
        return " or ".join(dict.fromkeys(map(_type, arguments)))
    if origin is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return "section"
    return "`null`" if hint is types.NoneType else _NAMES[hint]


def _bound(bound: Any) -> str:
    if isinstance(bound, MinLen):
        return "(not empty)"
    [limit] = dataclasses.astuple(bound)
    return f"{_BOUNDS[type(bound)]} {limit}"


def _default(field: "dataclasses.Field[Any]", sections: Sequence[type]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(value):
        return f"`kind: {_kind(type(value))}`" if len(sections) > 1 else ""
    is_word = isinstance(value, str) and value
    return f"`{value if is_word else json.dumps(value)}`"


def _table(options: Sequence[_Option]) -> Iterator[str]:
    """Nothing where there are none."""
    if options:
        yield from ("", "| key | type | default | what it does |", "| --- | --- | --- | --- |")
    for each in options:
        cells = (f"`{each.key}`", each.takes, each.default, each.text)
        escaped = [cell.replace("|", r"\|") for cell in cells]
        yield f"| {' | '.join(escaped)} |"
