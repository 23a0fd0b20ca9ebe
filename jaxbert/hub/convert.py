"""A model directory made of another one, with all that holds of both."""

from dataclasses import dataclass
from pathlib import Path

from jaxbert.hub.card import Card, read_carried
from jaxbert.hub.config_file import read_token_ids
from jaxbert.hub.load import Pretrained, load_params
from jaxbert.hub.save import FileDtype, Layout, save_params
from jaxbert.hub.sentence_modules import load_tokenizer_of
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.text.classes import OF_FILE, UnknownClassError
from jaxbert.text.files import TOKENIZER
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Params


@dataclass(frozen=True)
class Converted:
    """What was read, and written."""

    source: Pretrained
    tokenizer: Tokenizer | None
    no_tokenizer: str = ""
    """Why the export has none."""


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    head: Head | HeadKind | None = None,
    layout: Layout = "huggingface",
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    lowercase: bool | None = None,
    revision: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Writes a model from any format anew, with its tokenizer, its prompts and its licence.

    `head` and `revision` as in `load_params`, `lowercase` as in `load_tokenizer`, the others as in
    `save_params`. A tokenizer of a class that is not built here is left out.
    """
    loaded = load_params(source, head=head, revision=revision)
    tokenizer, missing = None, f"{source} holds none"
    try:
        tokenizer = tokenizer_of(loaded, lowercase=lowercase)
    except UnknownClassError as error:
        missing = str(error)
    save_made_of(
        loaded,
        loaded.params,
        loaded.config,
        tokenizer,
        destination,
        layout=layout,
        dtype=dtype,
        max_shard_size=max_shard_size,
        overwrite=overwrite,
    )
    return Converted(loaded, tokenizer, "" if tokenizer is not None else missing)


def save_made_of(
    source: Pretrained,
    params: Params,
    config: EncoderConfig,
    tokenizer: Tokenizer | None,
    destination: str | Path,
    *,
    layout: Layout = "huggingface",
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    description: str = "",
    overwrite: bool = False,
) -> None:
    """`save_params` with what the source's directory says beside its weights.

    That is licence, base model and their like, the ids of its tokens and the prompts of its texts.
    `description` is the card's.
    """
    carried = read_carried(source.directory)
    save_params(
        params,
        config,
        source.head,
        tokenizer,
        destination,
        layout=layout,
        dtype=dtype,
        max_shard_size=max_shard_size,
        card=Card(Path(destination).resolve().name, description, carried=carried),
        token_ids=read_token_ids(source.directory),
        prompts=read_prompts(source.directory),
        overwrite=overwrite,
    )


def tokenizer_of(source: Pretrained, *, lowercase: bool | None = None) -> Tokenizer | None:
    """The tokenizer in a model's directory, where there is one."""
    if not any((source.directory / name).is_file() for name in (TOKENIZER, *OF_FILE)):
        return None
    return load_tokenizer_of(source.directory, source.head, lowercase=lowercase)
