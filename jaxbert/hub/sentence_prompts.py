"""config_sentence_transformers.json: what is put before texts, and how vectors are compared."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.text.vocabulary import read_object

PROMPTS = "config_sentence_transformers.json"
_NAMES = ("prompts", "default_prompt_name", "similarity_fn_name")


def read_prompts(directory: Path) -> dict[str, Any]:
    """What the file says of texts and vectors, as it stands there; {} without one."""
    fields = read_object(directory / PROMPTS)
    return {name: fields[name] for name in _NAMES if fields.get(name) not in (None, {})}


def write_prompts(fields: Mapping[str, Any], directory: Path) -> None:
    """Writes the file, where there is something to say."""
    if fields:
        text = json.dumps(dict(fields), indent=2, ensure_ascii=False)
        (directory / PROMPTS).write_text(f"{text}\n", encoding="utf-8")
