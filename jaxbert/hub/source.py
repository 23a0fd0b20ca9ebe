"""Where a model's files come from: this machine, the Hugging Face Hub, or a bucket."""

from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os import PathLike
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.hub.adapter import FILE as ADAPTER
from jaxbert.hub.adapter import MERGED, read_adapter, upon_another
from jaxbert.hub.adapter import WEIGHTS as ADAPTER_WEIGHTS
from jaxbert.hub.card import FILE as CARD
from jaxbert.hub.config_file import CONFIG_FILES
from jaxbert.hub.formats import FORMATS, TENSORFLOW
from jaxbert.hub.sentence_modules import FILES as MODULE_FILES
from jaxbert.hub.sentence_modules import OPTIONAL_FILES
from jaxbert.hub.sentence_prompts import PROMPTS
from jaxbert.hub.several_runs import check_is_one_run
from jaxbert.text.download import download, is_here
from jaxbert.text.files import TOKENIZER_FILES

SMALL = tuple(dict.fromkeys((*CONFIG_FILES, ADAPTER, *TOKENIZER_FILES, *MODULE_FILES)))
OPTIONAL = (*OPTIONAL_FILES, PROMPTS, CARD)


@dataclass(frozen=True)
class Source:
    """A model's files on this machine."""

    directory: Path
    """Holds its configuration; of an adapter the base's."""
    checkpoint: str | None = None
    """The name of its TensorFlow checkpoint, where it was asked for by that."""
    adapter: Path | None = None
    """The directory of an adapter, which is merged into the weights as they are read."""

    @property
    def described(self) -> Path:
        """Where it says what the model is for: of an adapter of ours, what lies beside that."""
        own = self.directory if self.adapter is None else self.adapter / MERGED
        return own if any((own / name).is_file() for name in CONFIG_FILES) else self.directory


def find_model(path_or_hub_id: str | Path, *, revision: str | None = None) -> Source:
    """Finds a model, or brings it here.

    Takes a model directory, a run directory (its `model/`), a directory of a LoRA adapter as peft
    saves it (its base is found in the same way), the prefix of a TensorFlow checkpoint
    (".../bert_model.ckpt"), a URL of such a directory or prefix that fsspec opens ("gs://..."), or
    a hub id, which is downloaded into the Hugging Face cache (HF_HUB_OFFLINE is respected).
    `revision` is for hub ids only. Raises UserError for what is none of these.
    """
    check_is_name(path_or_hub_id)
    path = Path(expanduser(path_or_hub_id))
    is_url = "://" in str(path_or_hub_id)
    exists = not is_url and is_here(path)
    if revision is not None and (is_url or path.is_dir()):
        raise UserError(
            f"{path_or_hub_id} is no hub id: leave out revision={revision!r}, or name a repository"
        )
    if is_url:
        return _find_remote(str(path_or_hub_id))
    if path.is_dir():
        return _source(path)
    if path.with_name(f"{path.name}.index").is_file():
        return Source(path.parent, path.name)
    if exists:
        raise UserError(f"{path} is a file: expected a model directory or a hub id")
    if not _can_be_hub_id(str(path_or_hub_id)):
        raise UserError(f"{path}: there is no such directory")
    return _source(_download(str(path_or_hub_id), revision))


def check_is_name(given: Any) -> None:
    """Raises UserError for what names no place, such as a model itself."""
    if not isinstance(given, str | PathLike):
        raise UserError(
            f"expected a directory, a run or a hub id, found {type(given).__name__}: a model in"
            " memory is saved first, with jaxbert.save_pretrained"
        )


def _find_remote(url: str) -> Source:
    parent, _, name = url.rstrip("/").rpartition("/")
    if ".ckpt" in name:
        patterns = f"{name}.index", f"{name}.data-*"
        return Source(download(parent, [*SMALL, *patterns], optional=OPTIONAL), name)
    return _source(_download(url))


def _download(name: str, revision: str | None = None) -> Path:
    """Fetches one format of the weights: the first that there is, in the order of `formats`."""
    native = ("params/*", *ADAPTER_WEIGHTS, f"{MERGED}/*.json")
    for patterns in (native + FORMATS[0].patterns, *(f.patterns for f in FORMATS[1:]), TENSORFLOW):
        directory = download(name, [*SMALL, *patterns], optional=OPTIONAL, revision=revision)
        files = [file.relative_to(directory).as_posix() for file in directory.rglob("*")]
        if any(fnmatch(file, pattern) for file in files for pattern in patterns):
            break
    return directory


def _source(directory: Path) -> Source:
    """What a directory that is here holds."""
    found = _model_directory(directory)
    if not (found / ADAPTER).is_file():
        return Source(found)
    adapter = read_adapter(found)
    if adapter.base == str(found):
        return Source(found, adapter=found)
    base = find_model(adapter.base, revision=adapter.revision)
    if base.adapter is not None:
        raise upon_another(found, adapter.base)
    return replace(base, adapter=found)


def _model_directory(directory: Path) -> Path:
    for candidate in (directory, directory / "model"):
        if any((candidate / name).is_file() for name in (*CONFIG_FILES, ADAPTER)):
            return candidate
    check_is_one_run(directory)
    if any(path.name.isdecimal() for path in (directory / "checkpoints").glob("*")):
        raise UserError(
            f"{directory} is a run that has not ended, and has no model yet: make one of a "
            f"checkpoint with `jaxbert convert {directory} DEST --step latest`, and take DEST"
        )
    raise UserError(f"{directory} holds no config.json: expected a model directory, or a run's")


def _can_be_hub_id(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1
