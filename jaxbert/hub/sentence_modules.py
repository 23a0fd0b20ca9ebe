"""modules.json: how sentence-transformers makes one vector of an encoder's tokens."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.errors import UserError, kind_of
from jaxbert.hub.dense_module import MODULE, Input, read_dense, write_dense
from jaxbert.hub.sparse_modules import (
    SPARSE_KINDS,
    SPLADE_POOLING,
    read_splade,
    write_sparse_modules,
)
from jaxbert.hub.token_sides import markers_of
from jaxbert.hub.token_vectors import OPTIONAL_FILES as LATE_FILES
from jaxbert.hub.token_vectors import WRITTEN as LATE_WRITTEN
from jaxbert.hub.token_vectors import is_of_tokens, read_of_tokens, stanfords
from jaxbert.nn.head import Head, Pooling
from jaxbert.text.markers import with_whole
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer
from jaxbert.typing import Params

MODULES, POOLING = "modules.json", "1_Pooling"
LENGTH = "sentence_*_config.json"
FILES = (MODULES, f"{POOLING}/config.json")
OPTIONAL_FILES = (
    *("?_Dense/config.json", "?_Dense/*.safetensors", "?_Normalize/config.json", LENGTH),
    *(f"{SPLADE_POOLING}/config.json", *LATE_FILES),
)
WRITTEN = (
    *(MODULES, POOLING, "?_Dense", SPLADE_POOLING, "sentence_bert_config.json"),
    *LATE_WRITTEN,
)
"""What of a directory is ours where we have written it."""
_MODES: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}
_PACKAGE = "sentence_transformers."
_PACKAGES = (_PACKAGE, "pylate.")
_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
_INPUT: Input = "sentence_embedding"


def is_sentence_encoder(head: Head) -> bool:
    """Whether sentence-transformers has modules for what the head does."""
    is_plain = head.kind == "none" and head.mixture is None
    return (is_plain and head.pooling in _MODES.values()) or head.splade is not None


def write_modules(
    head: Head, hidden_size: int, params: Params, dtype: np.dtype[Any], directory: Path
) -> None:
    """Writes what sentence-transformers opens a directory by, and the weights of its own."""
    if head.splade is not None:
        write_sparse_modules(head.splade, directory)
        return
    is_there = {"Dense": head.dense is not None, "Normalize": head.is_normalized}
    kinds = [kind for kind in _KINDS if is_there.get(kind, True)]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_PACKAGE}models.{kind}"}
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    modes = {mode: pooling == head.pooling for mode, pooling in _MODES.items()}
    pooling = {"word_embedding_dimension": hidden_size, **modes}
    (directory / POOLING).mkdir()
    for name, values in ((MODULES, modules), (f"{POOLING}/config.json", pooling)):
        (directory / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if head.dense is not None:
        folder = directory / paths[kinds.index("Dense")]
        write_dense(head.dense, params[MODULE]["dense"], dtype, folder, _INPUT)


def read_modules(directory: Path) -> Head | None:
    """What a sentence-transformers directory makes of its encoder's tokens; None: it is none.

    Raises UserError for modules, poolings and activations that are not implemented.
    """
    file = directory / MODULES
    if not file.is_file():
        return stanfords(directory)
    modules = _read(file, list)
    kinds = [_kind(module, file) for module in modules]
    folders = [directory / module["path"] for module in modules]
    if is_of_tokens(directory, kinds):
        return read_of_tokens(file, kinds, folders)
    if kinds in SPARSE_KINDS and not modules[0]["path"]:
        pooling = folders[1] / "config.json"
        return Head("masked_lm", splade=read_splade(_read(pooling, dict), pooling))
    if kinds[:2] != [*_KINDS[:2]] or kinds != [kind for kind in _KINDS if kind in kinds]:
        raise UserError(
            f"{file}: modules {', '.join(kinds) or 'none'}: expected Transformer, Pooling, perhaps "
            f"Dense and perhaps Normalize, or SpladePooling; for the encoder alone take a copy "
            f"without {MODULES}, or pass head=Head() (in Python)"
        )
    if modules[0]["path"]:
        raise UserError(f"{file}: the path of Transformer is {modules[0]['path']!r}: expected ''")
    places = dict(zip(kinds, folders, strict=True))
    if "Normalize" in places and (named := places["Normalize"] / "config.json").is_file():
        given = _read(named, dict).get("module_input_name", _INPUT)
        if given != _INPUT:
            raise UserError(f"{named}: module_input_name={given!r}: expected {_INPUT}")
    return Head(
        pooling=_pooling(places["Pooling"] / "config.json"),
        dense=read_dense(places["Dense"], _INPUT) if "Dense" in places else None,
        is_normalized="Normalize" in places,
    )


def dense_folder(directory: Path) -> Path | None:
    """Where the weights of a directory's Dense layer are; None: it has none."""
    file = directory / MODULES
    modules = _read(file, list) if file.is_file() else []
    found = (module["path"] for module in modules if _kind(module, file) == "Dense")
    return next((directory / path for path in found), None)


def load_tokenizer_of(directory: Path, head: Head, *, lowercase: bool | None = None) -> Tokenizer:
    """A model's tokenizer, for what `head` does.

    The limit of sentence-transformers is one of its vectors: a classifier that is made of the same
    encoder reads as much as the tokenizer's own files allow.
    """
    tokenizer = load_tokenizer(directory, lowercase=lowercase)
    if head.kind == "late_interaction":
        tokenizer = with_whole(tokenizer, markers_of(directory))
    elif not is_sentence_encoder(head):
        return tokenizer
    return as_sentence_encoder(tokenizer, directory)


def as_sentence_encoder(tokenizer: Tokenizer, directory: Path) -> Tokenizer:
    """The tokenizer with the limit of length that sentence-transformers keeps in a file of its own.

    Raises UserError where that file asks for lowercase text and the tokenizer keeps case.
    """
    file = next(iter(sorted(directory.glob(LENGTH))), None)
    if file is None or not (directory / MODULES).is_file():
        return tokenizer
    fields = _read(file, dict)
    if fields.get("do_lower_case") and not tokenizer.config.get("do_lower_case"):
        raise UserError(
            f"{file}: do_lower_case=true, and the tokenizer keeps case: set do_lower_case in "
            "tokenizer_config.json, or false here"
        )
    length = fields.get("max_seq_length")
    if length is None:
        return tokenizer
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise UserError(f"{file}: max_seq_length={length!r}: expected a whole number of at least 1")
    return Tokenizer(tokenizer.backend, tokenizer.config | {"model_max_length": length})


def _kind(module: Any, file: Path) -> str:
    """The class of a module without its package, which changes; of others the whole name."""
    name, path = (
        (module.get("type"), module.get("path")) if isinstance(module, dict) else (None,) * 2
    )
    if not isinstance(name, str) or not isinstance(path, str):
        raise UserError(f"{file}: {module!r}: expected an object with type and path")
    return name.rpartition(".")[2] if name.startswith(_PACKAGES) else name


def _pooling(file: Path) -> Pooling:
    """Named since sentence-transformers 6, before that one claim a pooling."""
    fields = _read(file, dict)
    if fields.get("include_prompt") is False:
        raise UserError(f"{file}: include_prompt=false is not implemented: all tokens are pooled")
    if "pooling_mode" in fields:
        mode, names = fields["pooling_mode"], tuple(_MODES.values())
        found = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
        if found not in names:
            raise UserError(f"{file}: pooling_mode={mode!r}: expected one of {', '.join(names)}")
        return found
    chosen = [name for name, value in fields.items() if name in _MODES and value is True]
    others = [name for name, value in fields.items() if "mode_" in name and value is True]
    if len(chosen) != 1 or others != chosen:
        raise UserError(f"{file}: poolings {others}: expected one of {', '.join(_MODES)}")
    return _MODES[chosen[0]]


def _read(file: Path, kind: type) -> Any:
    try:
        values = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file} is missing, and {MODULES} is there: expected a pooling") from None
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(values, kind):
        expected = "array" if kind is list else "object"
        raise UserError(f"{file}: expected a JSON {expected}, found {kind_of(values)}")
    return values
