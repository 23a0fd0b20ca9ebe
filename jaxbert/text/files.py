"""Tokenizer files in Hugging Face's layout: found, read and written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers

from jaxbert.errors import UserError
from jaxbert.text.download import download
from jaxbert.text.wordpiece import wordpiece_backend, wordpiece_config

TOKENIZER, CONFIG, VOCABULARY = "tokenizer.json", "tokenizer_config.json", "vocab.txt"
Parts = tuple[tokenizers.Tokenizer, dict[str, Any]]


def read_tokenizer(
    path_or_hub_id: str | Path, *, revision: str | None, lowercase: bool | None
) -> Parts:
    """Backend and tokenizer_config from a directory, a vocab.txt or a hub repository.

    A run has its tokenizer in `model/`, a token store in `tokenizer/`.
    """
    path = Path(path_or_hub_id).expanduser()
    if not path.exists():
        path = download(str(path_or_hub_id), [TOKENIZER, CONFIG, VOCABULARY], revision=revision)
    if path.is_file():
        return _read_vocabulary(path, path.with_name(CONFIG), lowercase)
    for directory in (path, path / "model", path / "tokenizer"):
        if (directory / TOKENIZER).is_file():
            return _read_directory(directory, lowercase)
        if (directory / VOCABULARY).is_file():
            return _read_vocabulary(directory / VOCABULARY, directory / CONFIG, lowercase)
    raise UserError(f"{path}: no tokenizer here; expected {TOKENIZER} or {VOCABULARY}")


def write_tokenizer(
    backend: tokenizers.Tokenizer, config: Mapping[str, Any], vocab: list[str], directory: Path
) -> None:
    """Write tokenizer.json, tokenizer_config.json and vocab.txt (for google-bert's tools)."""
    directory.mkdir(parents=True, exist_ok=True)
    backend.save(str(directory / TOKENIZER))
    text = json.dumps({"backend": "tokenizers", **config}, indent=2, ensure_ascii=False)
    (directory / CONFIG).write_text(text + "\n", encoding="utf-8")
    lines = "".join(token + "\n" for token in vocab)
    (directory / VOCABULARY).write_bytes(lines.encode("utf-8"))


def _read_directory(directory: Path, lowercase: bool | None) -> Parts:
    # Checked before the backend sees it, which answers broken JSON with a bare Exception.
    text = json.dumps(_read_object(directory / TOKENIZER))
    backend = tokenizers.Tokenizer.from_str(text)
    config = _read_object(directory / CONFIG)
    state = json.loads(backend.to_str())["normalizer"]
    if state is None or state["type"] != "BertNormalizer":
        return backend, config
    # transformers lets tokenizer_config.json decide where the two files disagree.
    settings = {
        "lowercase": config.get("do_lower_case", state["lowercase"]),
        "strip_accents": config.get("strip_accents", state["strip_accents"]),
        "handle_chinese_chars": config.get("tokenize_chinese_chars", state["handle_chinese_chars"]),
    }
    _check_case(lowercase, settings["lowercase"], directory)
    backend.normalizer = normalizers.BertNormalizer(clean_text=state["clean_text"], **settings)
    config.setdefault("do_lower_case", settings["lowercase"])
    config.setdefault("tokenizer_class", "BertTokenizer")
    return backend, config


def _read_vocabulary(file: Path, config_file: Path, lowercase: bool | None) -> Parts:
    config = _read_object(config_file)
    stated = config.get("do_lower_case")
    if stated is None and lowercase is None:
        raise UserError(
            f"{file}: a bare vocabulary does not say whether text is lowercased;"
            " add --lowercase or --cased where there is such an option, else a"
            ' tokenizer_config.json beside it with {"do_lower_case": true} or false'
        )
    _check_case(lowercase, stated, file)
    settings = {
        "lowercase": stated if lowercase is None else lowercase,
        "strip_accents": config.get("strip_accents"),
        "tokenize_chinese_chars": config.get("tokenize_chinese_chars", True),
    }
    vocab = _read_lines(file)
    return wordpiece_backend(vocab, **settings), {**config, **wordpiece_config(**settings)}


def _check_case(wanted: bool | None, stated: bool | None, place: Path) -> None:
    if None not in (wanted, stated) and wanted != stated:
        word, flag = ("lowercases", "--cased") if stated else ("keeps case", "--lowercase")
        raise UserError(f"{place}: this tokenizer {word}; drop {flag} or choose another tokenizer")


def _read_lines(file: Path) -> dict[str, int]:
    try:
        with open(file, encoding="utf-8") as lines:
            tokens = [line.rstrip("\n") for line in lines]
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a vocabulary in UTF-8 ({error.reason})") from None
    return {token: i for i, token in enumerate(tokens) if token}


def _read_object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{file}: expected a JSON object, found a {type(config).__name__}")
    return config
