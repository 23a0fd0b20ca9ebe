"""A model directory made of another one, or of the mean of several, with all that holds of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.hub.average import carried_by, check_alike, description_of
from jaxbert.hub.card import Card, read_carried
from jaxbert.hub.config_file import read_token_ids
from jaxbert.hub.load import Opened, Pretrained, open_params
from jaxbert.hub.mean import mean
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
    """Of several the first, with the mean of their parameters."""
    tokenizer: Tokenizer | None
    no_tokenizer: str = ""
    """Why the export has none."""


def convert(
    source: str | Path | Sequence[str | Path],
    destination: str | Path,
    *,
    weights: Sequence[float] | None = None,
    head: Head | HeadKind | None = None,
    layout: Layout = "huggingface",
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    lowercase: bool | None = None,
    revision: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Writes a model from any format anew, with its tokenizer, its prompts and its licence.

    Of several sources it is the mean (Wortsman et al. 2022, uniform soup), by `weights` or each
    counting the same; they are read one after another. `head` and `revision` as in `load_params`,
    `lowercase` as in `load_tokenizer`, the others as in `save_params`. A tokenizer of a class that
    is not built here is left out. Raises UserError for sources that differ in more than their
    weights.
    """
    sources = [source] if isinstance(source, str | PathLike) else [*source]
    if not sources or (weights is not None and len(weights) != len(sources)):
        raise UserError(f"{len(sources)} sources with weights={weights}: give one for each")
    opened = [open_params(each, head=head, revision=revision) for each in sources]
    found = [_tokenizer_of(each, lowercase) for each in opened]
    check_alike(opened, [tokenizer for tokenizer, _ in found])
    carried = carried_by([each.directory for each in opened])
    tokenizer, missing = next((each for each in found if each[0] is not None), found[0])
    first = opened[0]
    loaded = Pretrained(
        first.directory,
        first.described,
        first.config,
        first.head,
        mean((each.read() for each in opened), weights) if opened[1:] else first.read(),
        first.fresh,
        first.unused,
    )
    save_made_of(
        loaded,
        loaded.params,
        loaded.config,
        tokenizer,
        destination,
        layout=layout,
        dtype=dtype,
        max_shard_size=max_shard_size,
        description=description_of(sources, weights) if sources[1:] else "",
        carried=carried,
        overwrite=overwrite,
    )
    return Converted(loaded, tokenizer, missing)


def _tokenizer_of(source: Opened, lowercase: bool | None) -> tuple[Tokenizer | None, str]:
    """With why there is none."""
    try:
        tokenizer = tokenizer_of(source, lowercase=lowercase)
    except UnknownClassError as error:
        return None, str(error)
    return tokenizer, "" if tokenizer is not None else f"{source.directory} holds none"


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
    carried: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """`save_params` with what the source's directory says beside its weights.

    That is licence, base model and their like (or what is `carried` of them), the ids of its tokens
    and the prompts of its texts. `description` is the card's.
    """
    carried = read_carried(source.directory) if carried is None else carried
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
        prompts=read_prompts(source.described),
        overwrite=overwrite,
    )


def tokenizer_of(source: Opened | Pretrained, *, lowercase: bool | None = None) -> Tokenizer | None:
    """The tokenizer in a model's directory, where there is one."""
    if not any((source.directory / name).is_file() for name in (TOKENIZER, *OF_FILE)):
        return None
    return load_tokenizer_of(source.directory, source.head, lowercase=lowercase)
