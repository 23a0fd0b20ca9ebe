"""What store.json says of a token store, whoever wrote it; `prepare` says more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError

FORMAT = "jaxbert token store"
VERSION = 3
_COUNTS = ("documents", "sentences", "tokens")
_CHECKSUMS = ("tokens", "sentence_lengths", "document_lengths", "blocks", "document_digests")


def parse_metadata(text: bytes, file: str | Path) -> dict[str, Any]:
    """What store.json says; a UserError if it is not, or not wholly, of a store of this version."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not valid JSON ({error}); prepare the store again") from None
    is_ours = isinstance(metadata, dict) and metadata.get("format") == FORMAT
    if not is_ours or not isinstance(metadata.get("version"), int):
        raise UserError(f"{file}: not the description of a token store; give a store's directory")
    if metadata["version"] != VERSION:
        remedy = "prepare the store again" if metadata["version"] < VERSION else "update jaxbert"
        raise UserError(
            f"{file}: store version {metadata['version']}, this jaxbert reads version {VERSION};"
            f" {remedy}"
        )
    wrong = [name for name, holds in _RULES.items() if not holds(metadata.get(name))]
    if wrong:
        raise UserError(
            f"{file}: the store is damaged: {wrong[0]!r} is missing or not as it was written; copy"
            " the file again from where the store came from, or prepare the store again"
        )
    return metadata


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_shard(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {*_COUNTS, "crc32c"}:
        return False
    sums = value["crc32c"]
    return (
        all(_is_count(value[name]) for name in _COUNTS)
        and isinstance(sums, dict)
        and all(_is_count(sums.get(name)) for name in _CHECKSUMS)
    )


_RULES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("vocab_size", *_COUNTS), _is_count),
    "dtype": lambda value: value in ("uint16", "uint32"),
    "tokenizer": lambda value: isinstance(value, str),
    "files": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    "shards": lambda value: isinstance(value, list) and all(map(_is_shard, value)),
}
"""What is needed to open a store."""
