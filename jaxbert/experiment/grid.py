"""The grid of a sweep: keys of a configuration, their values, and a name for every combination."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from jaxbert.errors import UserError
from jaxbert.yaml_values import value_of

SEED = "seed"
"""The key of which every value is a run of a point, not a point of its own."""
_LONGEST_VALUE, _LONGEST_NAME = 48, 200
"""Characters of a directory's name, of which file systems take 255 bytes."""
_CHOOSES = ("checkpoint.metric", "checkpoint.mode")


@dataclass(frozen=True)
class Axis:
    """A key, and what it is to be."""

    key: str
    texts: tuple[str, ...]
    """The values as they were given, each as an override has it."""

    @property
    def values(self) -> tuple[Any, ...]:
        """The plain values."""
        return tuple(map(value_of, self.texts))


def axes_of(words: Sequence[str], overrides: Iterable[str] = ()) -> tuple[Axis, ...]:
    """The axes that words such as `optimizer.learning_rate=1e-5,2e-5` say.

    Raises UserError where two words, or a word and one of the overrides, set the same key.
    """
    axes = tuple(map(_axis, words))
    # A section may be given once for all, and a key in it be swept; not the other way round.
    for key in (override.partition("=")[0] for override in overrides):
        for axis in axes:
            if _is_in(key, axis.key):
                raise UserError(
                    f"--sweep {axis.key}: {key}= is given too, which the sweep would replace: "
                    "leave one of the two out"
                )
    for one, other in pairwise(sorted((axis.key for axis in axes), key=lambda key: f"{key}.")):
        if _is_in(other, one):
            both = f"{one} is given twice" if one == other else f"{other} is a part of {one}"
            raise UserError(f"--sweep: {both}: give every key once, with all of its values")
    return axes


def _is_in(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def _axis(word: str) -> Axis:
    key, separator, text = word.partition("=")
    if not separator or not re.fullmatch(r"[\w.]+", key):
        raise UserError(f"--sweep {word}: expected key=value,value,...")
    if key in _CHOOSES:
        raise UserError(f"--sweep {key}: it says which run is the best, and must be one for all")
    texts = split_values(text, word)
    if "" in texts:
        raise UserError(f"--sweep {word}: a value is missing; none is written null, no text ''")
    axis = Axis(key, texts)
    for place, value in enumerate(axis.values):
        if value in axis.values[:place]:
            raise UserError(f"--sweep {word}: {texts[place]} is given twice: leave one out")
    return axis


def split_values(text: str, word: str) -> tuple[str, ...]:
    """The parts between commas, those within brackets or quotes left together.

    As in YAML a quote is one where a value begins. Raises UserError, about `word`, where brackets
    or quotes are left open.
    """
    parts, open_brackets, quote = [""], 0, ""
    for letter in text:
        begins = not parts[-1].strip() or (open_brackets and parts[-1].rstrip()[-1] in "[{,:")
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and begins:
            quote = letter
        elif letter in "[{":
            open_brackets += 1
        elif letter in "]}" and open_brackets:
            open_brackets -= 1
        elif letter == "," and not open_brackets:
            parts.append("")
            continue
        parts[-1] += letter
    if quote or open_brackets:
        raise UserError(f"--sweep {word}: a bracket or a quote is not closed")
    return tuple(part.strip() for part in parts)


def combinations(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Every point of the grid as texts by key; the last axis changes first."""
    for texts in product(*(axis.texts for axis in axes)):
        yield dict(zip((axis.key for axis in axes), texts, strict=True))


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """The last words of dotted keys, where these are different ones; else the whole keys."""
    lasts = {key: key.rpartition(".")[2] for key in keys}
    counts = Counter(lasts.values())
    return {key: last if counts[last] == 1 else key for key, last in lasts.items()}


def shown_value(value: Any) -> str:
    """A value for people, as a configuration has it."""
    return value if isinstance(value, str) else json.dumps(value, default=repr)


def name_of(values: Mapping[str, Any]) -> str:
    """The name of the directory for some values by their keys, in whatever order these come.

    Other values have other names, also where capitals are not told apart.
    """
    short = short_keys(values)
    parts = sorted(f"{short[key]}={_safe(value)}" for key, value in values.items())
    name = ",".join(parts)
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}-{_digest(values)}"


def _safe(value: Any) -> str:
    """A value that says all in small letters is itself; of any other there is a digest too."""
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", shown_value(value)).strip("-")
    read = value_of(text)
    is_whole = type(read) is type(value) and read == value and text == text.lower()
    if is_whole and len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}-{_digest(value)}".lstrip("-")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
