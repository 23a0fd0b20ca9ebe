"""How late interaction reads queries and documents, from whichever files say so.

One mapping in the words of sentence-transformers: `query_length` and `document_length` (tokens;
None: as many as the model takes), `query_expansion` (strategy, attend, token, length; None: queries
are not filled), `skiplist_words`, `skiplist_tasks` (what is not scored, and on which side).
"""

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.hub.dense_module import CONFIG
from jaxbert.text.vocabulary import read_object

DESCRIPTION = "config_sentence_transformers.json"
MODULES, MASK, METADATA = "modules.json", "MultiVectorMask", "artifact.metadata"
TRANSFORMER = "sentence_bert_config.json"
OF_TRANSFORMER = ("query_length", "document_length", "query_expansion")
OF_MASK = ("skiplist_words", "skiplist_tasks")
FIELDS = (*OF_TRANSFORMER, *OF_MASK)
TYPE = "MultiVectorEncoder"
"""The `model_type` of such a model."""

STANFORD = "HF_ColBERT"
"""Among the architectures of Stanford's."""

_PYLATE = "ColBERT"
_SIDES = ("query", "document")
_USUAL_LENGTH = 32
# What shows that PyLate has written the file: it fills queries unless it says otherwise.
_OF_PYLATE = (
    *FIELDS[:4],
    *("do_query_expansion", "attend_to_expansion_tokens", "attend_to_mask_tokens"),
    *("query_prefix", "document_prefix"),
)


def is_pylates(directory: Path) -> bool:
    """Whether PyLate, of its versions up to 3, has written the directory."""
    return read_object(directory / DESCRIPTION).get("model_type") == _PYLATE


def is_stanfords(directory: Path) -> bool:
    """Whether it is a checkpoint of Stanford's ColBERT."""
    return STANFORD in (read_object(directory / CONFIG).get("architectures") or [])


def read_sides(directory: Path) -> dict[str, Any]:
    """The mapping, with `prompts` where they are not said as such; {}: no such model."""
    described = read_object(directory / DESCRIPTION)
    if is_stanfords(directory):
        return _of_stanford(read_object(directory / METADATA))
    if described.get("model_type") not in (TYPE, _PYLATE):
        return {}
    prompts = dict(described.get("prompts") or {})
    for side, marker in _prefixes(described).items():
        prompts[side] = marker + (prompts.get(side) or "").removeprefix(marker)
    own = read_object(directory / TRANSFORMER)
    found = _of_pylate(described) | {name: own[name] for name in OF_TRANSFORMER if name in own}
    mask = _mask_of(directory)
    of_mask = described if mask is None else read_object(mask)
    # PyLate leaves punctuation out where it does not say what.
    usual = [*string.punctuation] if mask is None and is_pylates(directory) else []
    words = of_mask.get("skiplist_words")
    sides = of_mask.get("skiplist_tasks") or ["document"]
    if of_mask.get("keep_only_token_ids"):
        raise UserError(
            f"{mask}: keep_only_token_ids is not implemented: expected null, for models of text"
        )
    return {
        **({"prompts": prompts} if prompts else {}),
        **{name: found.get(name) for name in OF_TRANSFORMER},
        "skiplist_words": usual if words is None else list(words),
        "skiplist_tasks": [sides] if isinstance(sides, str) else list(sides),
    }


def markers_of(directory: Path) -> tuple[str, ...]:
    """What stands before texts as one token each, where the tokenizer's files do not say so."""
    if is_stanfords(directory):
        return tuple(_of_stanford(read_object(directory / METADATA))["prompts"].values())
    return tuple(filter(None, _prefixes(read_object(directory / DESCRIPTION)).values()))


def scored_fields(sides: Mapping[str, Any]) -> dict[str, Any]:
    """What the module says that leaves tokens out of the scores."""
    return {
        "skiplist_words": sides.get("skiplist_words") or [],
        "skiplist_tasks": sides.get("skiplist_tasks") or ["document"],
        "keep_only_token_ids": None,
    }


def _mask_of(directory: Path) -> Path | None:
    """The options of the module that says what is scored; None: there is no such module."""
    file = directory / MODULES
    modules = json.loads(file.read_text("utf-8")) if file.is_file() else []
    found = (module["path"] for module in modules if module["type"].endswith(f".{MASK}"))
    return next((directory / path / CONFIG for path in found), None)


def _prefixes(described: Mapping[str, Any]) -> dict[str, str]:
    """PyLate's markers by side."""
    named = {side: f"{side}_prefix" for side in _SIDES}
    return {side: described[name] or "" for side, name in named.items() if name in described}


def _of_pylate(described: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: described[name] for name in OF_TRANSFORMER if name in described}
    if "query_expansion" in found or not any(name in described for name in _OF_PYLATE):
        return found
    if described.get("do_query_expansion") is False:
        return found
    attends = described.get("attend_to_expansion_tokens", described.get("attend_to_mask_tokens"))
    length = found.pop("query_length", None) or _USUAL_LENGTH
    return found | {"query_expansion": _expansion(length, attends)}


def _of_stanford(metadata: Mapping[str, Any]) -> dict[str, Any]:
    length = metadata.get("query_maxlen") or _USUAL_LENGTH
    return {
        "prompts": {
            "query": (metadata.get("query_token_id") or "[unused0]") + " ",
            "document": (metadata.get("doc_token_id") or "[unused1]") + " ",
        },
        "query_length": None,
        "document_length": metadata.get("doc_maxlen"),
        "query_expansion": _expansion(length, metadata.get("attend_to_mask_tokens")),
        "skiplist_words": [*string.punctuation] if metadata.get("mask_punctuation", True) else [],
        "skiplist_tasks": ["document"],
    }


def _expansion(length: int, attends: Any) -> dict[str, Any]:
    return {"strategy": "fixed", "attend": bool(attends), "token": None, "length": length}
