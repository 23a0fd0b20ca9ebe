"""What several models have to have alike for their mean to be a model, and what its card says."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.hub.card import read_carried
from jaxbert.hub.load import Opened
from jaxbert.hub.markdown import code
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.text.tokenizer import Tokenizer

_LISTS = ("language", "base_model", "datasets")
"""Keys of a card that name one or several."""


def check_alike(models: Sequence[Opened], tokenizers: Sequence[Tokenizer | None]) -> None:
    """Raises UserError where a model differs from the first in more than its parameters.

    A tokenizer that a directory lacks does not differ.
    """
    first, known = models[0], tokenizers[0]
    for model, tokenizer in zip(models, tokenizers, strict=True):
        parts = ((first.config, model.config), (first.head, model.head))
        found = next((text for pair in parts for text in _different(*pair)), None)
        if read_prompts(model.described) != read_prompts(first.described):
            found = found or "other prompts (config_sentence_transformers.json)"
        known = known or tokenizer
        if known is not None and tokenizer is not None and found is None:
            found = _other_tokens(known, tokenizer)
        if found is not None:
            raise UserError(
                f"{model.directory} has {found}, compared with {first.directory}: an average is of"
                " models that differ in their weights alone"
            )


def _different(one: Any, other: Any) -> list[str]:
    """The options of two dataclasses that differ."""
    values = ((f.name, getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return [f"{name}={new!r}, not {old!r}" for name, old, new in values if new != old]


def _other_tokens(one: Tokenizer, other: Tokenizer) -> str | None:
    if one.vocab() != other.vocab():
        return "a tokenizer of other tokens"
    if one.backend.to_str() != other.backend.to_str():
        return "a tokenizer that reads the same text otherwise"
    return None


def carried_by(directories: Sequence[Path]) -> dict[str, Any]:
    """What the cards of several models say that holds as well of their mean.

    Raises UserError for licences that differ.
    """
    merged: dict[str, Any] = {}
    for directory in directories:
        for key, value in read_carried(directory).items():
            if key in _LISTS:
                merged[key] = [*dict.fromkeys([*merged.get(key, []), *_listed(value)])]
            elif merged.setdefault(key, value) != value:
                raise UserError(
                    f"{directory}: its card says {key}: {value}, another one {merged[key]}: give "
                    "the licence of the average to copies of both (the head of README.md)"
                )
    return {
        key: value[0] if key in _LISTS and not value[1:] else value for key, value in merged.items()
    }


def description_of(names: Sequence[Any], weights: Sequence[float] | None) -> str:
    """What a card says of a mean."""
    listed = [code(str(name)) for name in names]
    if weights is not None:
        listed = [f"{name} ({weight:g})" for name, weight in zip(listed, weights, strict=True)]
    weighted = "" if weights is None else ", by their weights"
    return f"The mean{weighted} of {', '.join(listed[:-1])} and {listed[-1]}."


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
