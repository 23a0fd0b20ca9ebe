"""What the small JSON files around a vocabulary say about a tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from jaxbert.errors import UserError
from jaxbert.text.classes import GENERIC, OF_FILE, OF_MODEL, TokenizerClass
from jaxbert.text.special_tokens import FLAGS, ROLES, added_token, content, extra_tokens
from jaxbert.text.vocabulary import read_object

CONFIG = "tokenizer_config.json"
SETTINGS = (CONFIG, "special_tokens_map.json", "added_tokens.json", "config.json")
"""The files that are read, all of them optional."""

# Of use on the machine that wrote it, or in a form that transformers 4 does not take.
_DROPPED = {
    "added_tokens_decoder",
    "auto_map",
    "extra_special_tokens",
    "is_local",
    "local_files_only",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
}


@dataclass(frozen=True)
class Settings:
    """`name` is the tokenizer's class, None where no file tells; `config` is for writing again.

    `declared` are added tokens by id, and all of them where `is_complete`: then those of a
    tokenizer.json do not count.
    """

    name: str | None
    config: dict[str, Any]
    declared: Mapping[int, AddedToken]
    is_complete: bool

    def added_tokens(self, state: Mapping[str, Any]) -> list[AddedToken]:
        """Added tokens in the order of their ids; `state` is the content of tokenizer.json."""
        found = dict(self.declared)
        if not self.is_complete:
            found |= {token["id"]: added_token(token) for token in state.get("added_tokens", [])}
        return [found[token_id] for token_id in sorted(found)]


def read_settings(file: Path) -> Settings:
    """The settings beside a vocabulary or tokenizer.json, in the order in which files decide."""
    place = file.with_name(CONFIG)
    config = read_object(place)
    decoder = config.get("added_tokens_decoder")
    if decoder is None:
        # transformers before 4.34 wrote what is special, and what was added, each in its own file.
        config.update(read_object(file.with_name("special_tokens_map.json")))
    _check_tokens(config, place)
    _check_values(config, place)
    if decoder is None:
        added = read_object(file.with_name("added_tokens.json"))
        for token, token_id in added.items():
            if type(token_id) is not int:
                file = place.with_name("added_tokens.json")
                raise UserError(f"{file}: {token!r} has the id {token_id!r}; expected a number")
        declared = {token_id: _legacy(token, config) for token, token_id in added.items()}
    else:
        declared = {int(token_id): added_token(token) for token_id, token in decoder.items()}
    kept = {key: value for key, value in config.items() if key not in _DROPPED}
    for role in ROLES:
        if isinstance(config.get(role), Mapping):
            # Without it, as special_tokens_map.json writes them, transformers sees no token here.
            kept[role] = {"__type": "AddedToken", **config[role]}
    if extra := extra_tokens(config):
        kept["additional_special_tokens"] = [content(token) for token in extra]
    return Settings(_class_name(file, config), kept, declared, is_complete=decoder is not None)


def check_settings(kind: TokenizerClass, config: Mapping[str, Any], place: Path) -> None:
    """Raises UserError where the settings of a class are no booleans."""
    for key in kind.settings:
        if not isinstance(config.get(key), bool | None):
            raise UserError(f"{place}: {key} is {config[key]!r}; expected true or false")


def check_case(wanted: bool | None, stated: bool | None, place: Path) -> None:
    """Raises UserError where the user asked for one case and the files say the other."""
    if None not in (wanted, stated) and wanted != stated:
        word, flag = ("lowercases", "--cased") if stated else ("keeps case", "--lowercase")
        raise UserError(f"{place}: this tokenizer {word}; drop {flag} or choose another tokenizer")


def _class_name(file: Path, config: Mapping[str, Any]) -> str | None:
    """As AutoTokenizer decides: the files' own word, else the kind of model beside them."""
    model = read_object(file.with_name("config.json"))
    of_model = OF_MODEL.get(str(model.get("model_type")))
    if of_model == GENERIC:
        return GENERIC
    stated = config.get("tokenizer_class") or model.get("tokenizer_class") or of_model
    if not isinstance(stated, str | None):
        place = file.with_name(CONFIG if config.get("tokenizer_class") else "config.json")
        raise UserError(f"{place}: tokenizer_class is {stated!r}; expected the name of a class")
    if stated is None and "model_type" not in model:
        stated = OF_FILE.get(file.name)
    return stated.removesuffix("Fast") if stated else None


def _legacy(token: str, config: Mapping[str, Any]) -> AddedToken:
    named = [config[role] for role in ROLES if config.get(role)]
    special = token in map(content, [*named, *extra_tokens(config)])
    return AddedToken(token, special=special, normalized=not special)


def _check_values(config: Mapping[str, Any], place: Path) -> None:
    for key in ("truncation_side", "padding_side"):
        if config.get(key, "right") not in ("left", "right"):
            raise UserError(f'{place}: {key} is {config[key]!r}; expected "left" or "right"')
    if not isinstance(split := config.get("split_special_tokens"), bool | None):
        raise UserError(f"{place}: split_special_tokens is {split!r}; expected true or false")
    if not isinstance(limit := config.get("model_max_length"), int | float | None):
        raise UserError(f"{place}: model_max_length is {limit!r}; expected a number")
    if not isinstance(inputs := config.get("model_input_names"), list | None):
        raise UserError(f"{place}: model_input_names is {inputs!r}; expected a list of names")


def _check_tokens(config: Mapping[str, Any], place: Path) -> None:
    decoder = config.get("added_tokens_decoder")
    decoder = {} if decoder is None else decoder
    if not (isinstance(decoder, Mapping) and all(map(str.isdecimal, decoder))):
        raise UserError(f"{place}: added_tokens_decoder is no table of tokens by id")
    for key in ("additional_special_tokens", "extra_special_tokens"):
        if not isinstance(config.get(key) or [], list | Mapping):
            raise UserError(f"{place}: {key} is {config[key]!r}; expected a list of tokens")
    named = [config[role] for role in ROLES if config.get(role) not in (None, "")]
    for token in (*named, *extra_tokens(config), *decoder.values()):
        check_token(token, place)


def check_token(token: Any, place: Path) -> None:
    """Raises UserError for what is no token in the words of Hugging Face's files."""
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise UserError(f"{place}: {token!r} is no token; expected text, or text as `content`")
    for flag in FLAGS if isinstance(token, Mapping) else ():
        if not isinstance(token.get(flag, False), bool):
            raise UserError(
                f"{place}: {flag} of {text!r} is {token[flag]!r}; expected true or false"
            )
