"""Models of late interaction in the files of sentence-transformers' MultiVectorEncoder.

Also those that it opens besides: PyLate's, which have no modules for what is scored and for the
length of vectors, and Stanford's ColBERT, which has none at all.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.dense_module import CONFIG, MODULE, Input, read_dense, write_dense
from jaxbert.hub.token_sides import (
    MASK,
    METADATA,
    OF_TRANSFORMER,
    TRANSFORMER,
    is_pylates,
    is_stanfords,
    scored_fields,
)
from jaxbert.nn.head import COLBERT, DenseLayer, Head
from jaxbert.text.vocabulary import read_object
from jaxbert.typing import Params

OPTIONAL_FILES = (f"?_{MASK}/{CONFIG}", METADATA)
WRITTEN = (TRANSFORMER, f"?_{MASK}", "?_Normalize")

_INPUT: Input = "token_embeddings"
_TYPES = {
    "Transformer": "base.modules.transformer.Transformer",
    "Dense": "base.modules.dense.Dense",
    MASK: "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
    "Normalize": "base.modules.normalize.Normalize",
}


def is_of_tokens(directory: Path, kinds: Sequence[str]) -> bool:
    """Whether the modules of a directory make vectors of tokens."""
    return MASK in kinds or is_pylates(directory)


def stanfords(directory: Path) -> Head | None:
    """The head of a directory as Stanford's ColBERT writes it; None: it is none of these."""
    if not is_stanfords(directory):
        return None
    width = read_object(directory / METADATA).get("dim", COLBERT.dimensions)
    return Head("late_interaction", dense=DenseLayer(width, "identity", bias=False))


def read_of_tokens(file: Path, kinds: Sequence[str], folders: Sequence[Path]) -> Head:
    """The head that the modules of a file make; UserError for what is not implemented."""
    last = set() if is_pylates(file.parent) and MASK not in kinds else {MASK, "Normalize"}
    first = ["Transformer", "Dense"] if "Dense" in kinds else ["Transformer"]
    # The last two go in either order: each leaves alone what the other changes.
    if [*kinds[: len(first)]] != first or sorted(kinds[len(first) :]) != sorted(last):
        raise UserError(
            f"{file}: modules {', '.join(kinds)}: expected Transformer, perhaps one Dense, {MASK} "
            "and Normalize"
        )
    places = dict(zip(kinds, folders, strict=True))
    if "Normalize" in places:
        named = places["Normalize"] / CONFIG
        given = read_object(named).get("module_input_name")
        if given != _INPUT:
            raise UserError(f"{named}: module_input_name={given!r}: expected {_INPUT}")
    dense = read_dense(places["Dense"], _INPUT) if "Dense" in places else None
    return Head("late_interaction", dense=dense)


def write_of_tokens(
    head: Head, params: Params, dtype: np.dtype[Any], sides: Mapping[str, Any], directory: Path
) -> None:
    """Writes the modules of late interaction; `sides` as `token_sides.read_sides` gives them."""
    kinds = [kind for kind in _TYPES if kind != "Dense" or head.dense is not None]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": _type(kind)}
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    folders = {kind: directory / path for kind, path in zip(kinds, paths, strict=True)}
    normalize = {"module_input_name": _INPUT, "module_output_name": _INPUT}
    of_encoder = {name: sides[name] for name in OF_TRANSFORMER if sides.get(name) is not None}
    _write(directory / "modules.json", modules)
    _write(directory / TRANSFORMER, of_encoder)
    for kind, fields in ((MASK, scored_fields(sides)), ("Normalize", normalize)):
        folders[kind].mkdir()
        _write(folders[kind] / CONFIG, fields)
    if head.dense is not None:
        write_dense(head.dense, params[MODULE]["dense"], dtype, folders["Dense"], _INPUT)


def _type(kind: str) -> str:
    return f"sentence_transformers.{_TYPES[kind]}"


def _write(file: Path, values: Any) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write_text(f"{text}\n", encoding="utf-8")
