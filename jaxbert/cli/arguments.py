"""Arguments that several verbs have, and their types."""

import argparse
import math
from collections.abc import Sequence

from jaxbert.errors import UserError


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse reads one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def number(text: str) -> float:
    """A number; NaN where it is none, of which argparse would say the name of a function."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def megabytes(text: str) -> int:
    """The bytes of a number of MB, for the `type` of an argument."""
    size = number(text) * 1e6
    if not (math.isfinite(size) and size >= 1):
        raise argparse.ArgumentTypeError(f"{text}: expected a number of MB above 0")
    return int(size)


def check_not_given(arguments: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """UserError for the first of some arguments that is given and would be ignored."""
    for name in names:
        value = getattr(arguments, name)
        if value not in (None, []):
            given = value[0] if name == "overrides" else f"--{name.replace('_', '-')}"
            raise UserError(f"{given}: {why}")


def add_case_arguments(
    parser: argparse.ArgumentParser,
    lowercase: str = "what a bare vocab.txt does not say: the text is lowercased",
    cased: str = "a bare vocab.txt tells capitals from small letters",
) -> None:
    """`lowercase` of the arguments, None where neither is said; the texts are for --help."""
    case = parser.add_mutually_exclusive_group()
    case.add_argument("--lowercase", action="store_true", default=None, help=lowercase)
    case.add_argument("--cased", action="store_false", dest="lowercase", help=cased)
