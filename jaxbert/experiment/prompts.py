"""A model's prompts, as sentence-transformers keeps them beside it and as a task takes them."""

import logging
import string
from pathlib import Path
from typing import Any

from jaxbert.config import to_values
from jaxbert.errors import UserError
from jaxbert.hub.sentence_prompts import PROMPTS, read_prompts
from jaxbert.tasks.late_interaction import LateInteractionConfig
from jaxbert.tasks.prompts import Prompts
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig
from jaxbert.tasks.sides import PUNCTUATION
from jaxbert.tasks.sparse_embedding import SparseEmbeddingConfig

log = logging.getLogger(__name__)

_EMBEDDING = (SentenceEmbeddingConfig, SparseEmbeddingConfig)
_DEFAULT = "default"
_SIDES = ("query", "document")
_OF_DOCUMENTS = ("document", "passage", "corpus")
"""What sentence-transformers takes before documents, the first of them that there is."""


def prompts_of(directory: Path) -> dict[str, str] | None:
    """`task.prompts` for a model that is there already; None where it has none.

    As sentence-transformers' `encode_query`, `encode_document` and `encode` choose them. Raises
    UserError where the default one is none of the file's.
    """
    fields = read_prompts(directory)
    named, name = fields.get("prompts") or {}, fields.get("default_prompt_name")
    if not isinstance(named, dict) or not all(isinstance(x, str) for x in named.values()):
        raise UserError(f"{directory / PROMPTS}: prompts is {named!r}, expected texts by name")
    if name is not None and name not in named:
        raise UserError(
            f"{directory / PROMPTS}: default_prompt_name={name!r} is none of its prompts "
            f"({', '.join(named) or 'it has none'}): correct it in a copy of the model"
        )
    usual = named.get(name, "")
    found = {
        "query": named.get("query", usual),
        "document": next((named[one] for one in _OF_DOCUMENTS if one in named), usual),
        "default": usual,
    }
    return found if any(found.values()) else None


def late_settings(directory: Path) -> dict[str, Any]:
    """What `task` says for a model of late interaction that is there already."""
    sides, prompts = read_prompts(directory), prompts_of(directory)
    said, filled = sides.get("query_expansion"), None
    if said is not None:
        filled = {name: value for name, value in said.items() if name != "strategy"}
    strategy = "min" if said is None else said.get("strategy")
    if strategy not in ("fixed", "min"):
        raise UserError(
            f"{directory}: query_expansion has the strategy {strategy!r}: expected fixed or min"
        )
    is_fixed = strategy == "fixed"
    return {
        "prompts": None if prompts is None else {side: prompts[side] for side in _SIDES},
        "query_length": said.get("length") if said and is_fixed else sides.get("query_length"),
        "query_expansion": filled,
        "skiplist_words": sides.get("skiplist_words", []),
        "skiplist_tasks": sides.get("skiplist_tasks", ["document"]),
    }


def _side_fields(section: LateInteractionConfig, document_length: int) -> dict[str, Any]:
    """The reverse, for a run with documents of that length."""
    filled, length, words = section.query_expansion, section.query_length, section.skiplist_words
    is_fixed = filled is not None and filled.length == length
    expansion = None
    if filled is not None:
        strategy = "fixed" if is_fixed else "min"
        expansion = {"strategy": strategy, **to_values(filled)}
    prompts = section.prompts or Prompts()
    return {
        "prompts": {side: getattr(prompts, side) for side in _SIDES},
        "query_length": None if is_fixed else length,
        "document_length": document_length,
        "query_expansion": expansion,
        "skiplist_words": [*string.punctuation] if words == PUNCTUATION else [*words],
        "skiplist_tasks": [*section.skiplist_tasks],
    }


def prompt_fields(section: Any, max_seq_length: int) -> dict[str, Any]:
    """What sentence-transformers is told of texts by a model trained with these; {}: nothing."""
    if isinstance(section, LateInteractionConfig):
        return _side_fields(section, max_seq_length)
    prompts = section.prompts if isinstance(section, _EMBEDDING) else None
    if prompts is None:
        return {}
    fields: dict[str, Any] = {"query": prompts.query, "document": prompts.document}
    if not prompts.default:
        return {"prompts": fields}
    return {"prompts": fields | {_DEFAULT: prompts.default}, "default_prompt_name": _DEFAULT}


def tell_of_prompts(section: Any, origin: str | Path) -> None:
    """Warns where texts are about to be embedded without a prompt that there is."""
    if not isinstance(section, _EMBEDDING) or section.prompt or not section.prompts:
        return
    if not section.prompts.default:
        log.warning(
            "%s has prompts, and none is put before these texts: task.prompt=query says %r, "
            "task.prompt=document says %r",
            *(origin, section.prompts.query, section.prompts.document),
        )
