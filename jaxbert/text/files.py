"""Tokenizer files in Hugging Face's layout: found, read and written."""

import json
from collections.abc import Mapping
from os.path import expanduser
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from jaxbert.errors import UserError
from jaxbert.text.classes import (
    CLASSES,
    ESM,
    GENERIC,
    OF_FILE,
    Parts,
    TokenizerClass,
    UnknownClassError,
    assemble,
    with_input_names,
)
from jaxbert.text.download import download, is_here
from jaxbert.text.settings import (
    CONFIG,
    SETTINGS,
    Settings,
    check_case,
    check_settings,
    check_token,
    read_settings,
)
from jaxbert.text.special_tokens import BERT_TOKENS, add_special_tokens, content
from jaxbert.text.vocabulary import Vocabulary, model_type, read_object, vocabulary_of

TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, *OF_FILE, "merges.txt", *SETTINGS)
"""Every file that a tokenizer may be made of."""


def read_tokenizer(
    path_or_hub_id: str | Path, *, revision: str | None, lowercase: bool | None
) -> Parts:
    """Backend and tokenizer_config from a directory, a vocabulary file or a hub repository.

    A run has its tokenizer in `model/`, a token store in `tokenizer/`.
    """
    file = tokenizer_file(path_or_hub_id, revision)
    settings = read_settings(file)
    if file.name == TOKENIZER:
        return _read_state(file, settings, lowercase)
    return _read_vocabulary(file, settings, lowercase)


def tokenizer_file(path_or_hub_id: str | Path, revision: str | None = None) -> Path:
    """The file that `read_tokenizer` begins with, on this machine."""
    path = Path(expanduser(path_or_hub_id))
    if not is_here(path):
        path = download(str(path_or_hub_id), TOKENIZER_FILES, revision=revision)
    return path if path.is_file() else _find(path)


def write_tokenizer(
    backend: tokenizers.Tokenizer, config: Mapping[str, Any], vocab: list[str], directory: Path
) -> None:
    """Write tokenizer.json and tokenizer_config.json for transformers 4 and 5.

    Beside them vocab.txt, or vocab.json with merges.txt, for older tools and ESM's class, which
    reads nothing else. A SentencePiece model cannot be written back from what is kept of it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    backend.save(str(directory / TOKENIZER))
    _write_json({"backend": "tokenizers", **with_input_names(backend, config)}, directory / CONFIG)
    if isinstance(backend.model, models.WordPiece) or config.get("tokenizer_class") == ESM.name:
        lines = "".join(token + "\n" for token in vocab)
        (directory / "vocab.txt").write_bytes(lines.encode("utf-8"))
    elif isinstance(backend.model, models.BPE):
        model = json.loads(backend.to_str())["model"]
        _write_json(model["vocab"], directory / "vocab.json")
        merges = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"]), ""]
        (directory / "merges.txt").write_bytes("\n".join(merges).encode("utf-8"))


def _write_json(value: Mapping[str, Any], file: Path) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    file.write_bytes((text + "\n").encode("utf-8"))


def _find(path: Path) -> Path:
    for directory in (path, path / "model", path / "tokenizer"):
        if (directory / TOKENIZER).is_file():
            return directory / TOKENIZER
        present = [directory / name for name in OF_FILE if (directory / name).is_file()]
        if present:
            # The files of two classes may lie together; then the class that is named decides.
            kind = CLASSES.get(read_settings(present[0]).name or "")
            named = directory / kind.vocabulary_file if kind else present[0]
            return named if named in present else present[0]
    raise UserError(f"{path}: no tokenizer here; expected {TOKENIZER} or {', '.join(OF_FILE)}")


def _read_state(file: Path, settings: Settings, lowercase: bool | None) -> Parts:
    # Checked before the backend sees it, which answers broken JSON with a bare Exception.
    state = read_object(file)
    _check_state(state, file)
    stated = _bert_settings(state, file)
    is_berts = bool(stated) and _has_berts_tokens(state, settings.config)
    name = settings.name or ("BertTokenizer" if is_berts else GENERIC)
    kind = CLASSES.get(name)
    added = settings.added_tokens(state)
    config = {**_sides(state), **settings.config}
    if kind is not None and kind.name == GENERIC:
        # Written under that name, so that the file itself decides, here as in transformers.
        config = {**kind.special_tokens, **config}
        kind = None
    if kind is None or kind.model != model_type(state):
        check_case(lowercase, stated.get("do_lower_case"), file)
        try:
            backend = tokenizers.Tokenizer.from_str(json.dumps(state))
        except Exception as error:  # The library raises no narrower kind.
            raise UserError(
                f"{file}: tokenizers {tokenizers.__version__} cannot read it ({error}); fetch it"
                " again, or install a newer version of tokenizers"
            ) from None
        add_special_tokens(backend, added, config)
        return backend, {**config, "tokenizer_class": GENERIC}
    config = {**stated, **config}
    _check(kind, config, lowercase, file)
    return assemble(kind, vocabulary_of(state, file), config, added)


def _read_vocabulary(file: Path, settings: Settings, lowercase: bool | None) -> Parts:
    name = settings.name or ("BertTokenizer" if file.suffix == ".txt" else GENERIC)
    kind = CLASSES.get(name)
    if kind is None or Path(kind.vocabulary_file).suffix != file.suffix:
        made_of = f"{TOKENIZER} or {kind.vocabulary_file}" if kind else f"a {TOKENIZER}"
        is_unknown = kind is None and settings.name not in (None, GENERIC)
        error = UnknownClassError if is_unknown else UserError
        raise error(
            f"{file}: no {name} can be made of this; give {made_of}, or name the right class as"
            f' "tokenizer_class" in {CONFIG} ({", ".join(CLASSES)})'
        )
    config = settings.config
    if kind.model == "WordPiece":
        case = config.get("do_lower_case")
        if case is None and lowercase is None:
            raise UserError(
                f"{file}: a bare vocabulary does not say whether text is lowercased;"
                " add --lowercase or --cased where there is such an option (load_tokenizer has"
                " lowercase=True or False), else a"
                ' tokenizer_config.json beside it with {"do_lower_case": true} or false'
            )
        config = {**config, "do_lower_case": lowercase if case is None else case}
    _check(kind, config, lowercase, file)
    vocabulary = kind.read(file)
    if kind.model == "WordPiece":
        stated = {key: value for key, value in config.items() if value is not None}
        _check_specials(vocabulary, {**kind.special_tokens, **stated})
    return assemble(kind, vocabulary, config, settings.added_tokens({}))


def _check(
    kind: TokenizerClass, config: Mapping[str, Any], lowercase: bool | None, file: Path
) -> None:
    check_settings(kind, config, file.with_name(CONFIG))
    default = kind.settings.get("do_lower_case", False)
    stated = config.get("do_lower_case")
    check_case(lowercase, default if stated is None else stated, file)


def _check_specials(vocabulary: Vocabulary, config: Mapping[str, Any]) -> None:
    wanted = [content(config[role]) for role in BERT_TOKENS]
    missing = [token for token in wanted if token not in vocabulary.tokens]
    if missing:
        raise UserError(
            f"vocabulary: {', '.join(missing)} missing among its {len(vocabulary.tokens)} tokens;"
            " a BERT vocabulary holds all five special tokens"
        )


def _has_berts_tokens(state: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether the five special tokens are there; BERT's class would add those that are not."""
    vocab = state["model"].get("vocab")
    if not isinstance(vocab, Mapping):
        return True
    known = {*vocab, *(content(token) for token in state.get("added_tokens", []))}
    return all(content(config.get(role) or BERT_TOKENS[role]) in known for role in BERT_TOKENS)


def _check_state(state: Mapping[str, Any], file: Path) -> None:
    if not state.get("model"):
        raise UserError(f"{file}: it has no model, which holds the vocabulary; fetch it again")
    for key in ("model", "normalizer", "truncation", "padding"):
        if not isinstance(state.get(key), Mapping | None):
            raise UserError(f"{file}: {key} is {state[key]!r}; expected an object; fetch it again")
    added = state.get("added_tokens", [])
    if not isinstance(added, list):
        raise UserError(f"{file}: added_tokens is {added!r}; expected a list; fetch it again")
    for token in added:
        check_token(token, file)
        if not isinstance(token, Mapping) or type(token.get("id")) is not int:
            raise UserError(f"{file}: added_tokens has {token!r} without an id; fetch it again")


def _sides(state: Mapping[str, Any]) -> dict[str, str]:
    """Where a tokenizer.json cuts and pads, in the words of tokenizer_config.json."""
    parts = {name: state.get(name) or {} for name in ("truncation", "padding")}
    return {
        f"{name}_side": "left" for name, part in parts.items() if part.get("direction") == "Left"
    }


def _bert_settings(state: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What a tokenizer.json says about BERT's normalization, where it has it."""
    normalizer = state.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer":
        return {}
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    for name in names.values():
        if name not in normalizer:
            raise UserError(f"{file}: its BertNormalizer does not say {name}; fetch it again")
    return {ours: normalizer[name] for ours, name in names.items()}
