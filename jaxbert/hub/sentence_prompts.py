"""config_sentence_transformers.json: what is put before texts, and how vectors are compared."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.hub.token_sides import FIELDS, TYPE, read_sides
from jaxbert.text.vocabulary import read_object

PROMPTS = "config_sentence_transformers.json"
_NAMES = ("prompts", "default_prompt_name", "similarity_fn_name")


def read_prompts(directory: Path) -> dict[str, Any]:
    """What the file says of texts and vectors, as it stands there; {} without one.

    Of late interaction with what other files say of queries and documents (`token_sides`).
    """
    fields = read_object(directory / PROMPTS)
    said = {name: fields[name] for name in _NAMES if fields.get(name) not in (None, {})}
    return said | read_sides(directory)


def write_prompts(
    fields: Mapping[str, Any], directory: Path, model_type: str | None = None
) -> None:
    """Writes the file, where there is something to say; `model_type`: whose modules they are."""
    own = {} if model_type is None else {"model_type": model_type}
    _write(own | {name: fields[name] for name in _NAMES if name in fields}, directory)


def write_sides(fields: Mapping[str, Any], directory: Path, *, beside_modules: bool) -> None:
    """The file of a model of late interaction, without what its modules say where it has some."""
    own = {name: fields[name] for name in _NAMES if name in fields}
    sides = {} if beside_modules else {name: fields.get(name) for name in FIELDS}
    _write({"model_type": TYPE} | own | sides, directory)


def _write(fields: Mapping[str, Any], directory: Path) -> None:
    if fields:
        text = json.dumps(dict(fields), indent=2, ensure_ascii=False)
        (directory / PROMPTS).write_text(f"{text}\n", encoding="utf-8")
