"""Plain values: what YAML says, in files and behind dotted keys, and what is written as YAML."""

import re
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import yaml

from jaxbert.errors import UserError

_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, RecursionError)
"""What PyYAML may raise of a text: also of !!int x, of !!bool x, and of what is nested too deep."""
_DATE = "tag:yaml.org,2002:timestamp"
_FLOAT = "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """Safe YAML where 3e-5 is a number, as in YAML 1.2, and no key stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} occurs twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
# No option is a date, and a name may look like one, 2024-02-30 too.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != _DATE]
    for first, found in _Loader.yaml_implicit_resolvers.items()
}


def read_values(path: str | Path) -> Any:
    """What a YAML file says, as plain values; UserError for a missing file and bad YAML."""
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except _NOT_YAML as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return {} if values is None else values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Sets in plain values what the text `dotted.key=value` says, its value read as YAML."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"override {override!r}: expected dotted.key=value")
    set_value(values, key, value_of(text), origin=f"override {override!r}")


def value_of(text: str) -> Any:
    """What the text behind a dotted key says: as YAML, or itself where it is none."""
    try:
        return yaml.load(text, _Loader)
    except _NOT_YAML:
        return text


def set_value(values: dict[str, Any], key: str, value: Any, *, origin: str) -> None:
    """Sets what a dotted key names in plain values, and makes the sections on the way to it."""
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise UserError(f"{origin}: {parent!r} is a value, not a section")
    values[last] = value


def plain(value: Any) -> Any:
    """As YAML would give it, and apart from `value`: dicts, lists, texts and Python's numbers."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return fspath(value)
    # NumPy's numbers and arrays have it.
    return value.tolist() if hasattr(value, "tolist") else value


def dumped(values: Any) -> str:
    """As YAML that `read_values` reads the same of, in the order of the keys."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
