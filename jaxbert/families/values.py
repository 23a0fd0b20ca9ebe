"""Values of config.json, checked where they enter."""

from typing import Any

from jaxbert.errors import UserError


def number(name: str, value: Any, *, whole: bool) -> int | float:
    """The number that a field holds; UserError naming it where it is none."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise UserError(f"{name}={value!r}: expected {'an integer' if whole else 'a number'}")
    return value if whole else float(value)
