"""modules.json: how sentence-transformers makes one vector of an encoder's tokens."""

import json
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.nn.head import Head, Pooling

MODULES, POOLING = "modules.json", "1_Pooling/config.json"
FILES = (MODULES, POOLING)
_MODES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}
_TYPE = "sentence_transformers.models."


def is_sentence_encoder(head: Head) -> bool:
    """Whether sentence-transformers has a module for what the head does."""
    is_plain = head.kind == "none" and head.mixture is None
    return is_plain and head.pooling in _MODES.values()


def write_modules(head: Head, hidden_size: int, directory: Path) -> None:
    """Writes what sentence-transformers opens a directory by."""
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": _TYPE + kind}
        for number, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling")))
    ]
    modes = {mode: pooling == head.pooling for mode, pooling in _MODES.items()}
    pooling = {"word_embedding_dimension": hidden_size, **modes}
    (directory / POOLING).parent.mkdir()
    for name, values in ((MODULES, modules), (POOLING, pooling)):
        (directory / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_pooling(directory: Path) -> Pooling | None:
    """The pooling of a sentence-transformers directory; None: it is none.

    Raises UserError for one that is not implemented.
    """
    if not (directory / MODULES).is_file():
        return None
    file = directory / POOLING
    fields = _read(file)
    chosen = [name for name, value in fields.items() if name in _MODES and value is True]
    others = [name for name, value in fields.items() if "mode_" in name and value is True]
    if len(chosen) != 1 or others != chosen:
        raise UserError(f"{file}: poolings {others}: expected one of {', '.join(_MODES)}")
    return _MODES[chosen[0]]


def _read(file: Path) -> dict[str, Any]:
    try:
        fields = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} is missing, and {MODULES} is there: expected a pooling") from None
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{file}: expected a JSON object, found {type(fields).__name__}")
    return fields
