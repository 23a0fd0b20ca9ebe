"""sentence-transformers' files of a sparse encoder: what makes weights of a masked LM's logits."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.nn.head import Splade

SPLADE_POOLING = "1_SpladePooling"
SPARSE_KINDS = (["Transformer", "SpladePooling"], ["MLMTransformer", "SpladePooling"])
"""The second as up to version 5.3."""
MODEL_TYPE = "SparseEncoder"
"""What config_sentence_transformers.json has to say, or its modules are not looked at."""

_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_SPLADE = "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"
_NAMES = {"pooling_strategy": "pooling", "activation_function": "activation"}


def write_sparse_modules(splade: Splade, directory: Path) -> None:
    """Writes what `SparseEncoder` of sentence-transformers 5.4 and later opens a directory by."""
    kinds = {"": _TRANSFORMER, SPLADE_POOLING: _SPLADE}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    values = asdict(splade)
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"transformer_task": "fill-mask"},
        f"{SPLADE_POOLING}/config.json": {theirs: values[ours] for theirs, ours in _NAMES.items()},
    }
    (directory / SPLADE_POOLING).mkdir()
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_splade(fields: Mapping[str, Any], file: Path) -> Splade:
    """What the config.json of a SpladePooling says; UserError for a value that is not known."""
    given = {ours: fields[theirs] for theirs, ours in _NAMES.items() if theirs in fields}
    try:
        return parse_config(Splade, given, origin="SpladePooling")
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
