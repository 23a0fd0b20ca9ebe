"""A directory that appears whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from os.path import expanduser
from pathlib import Path

from jaxbert.disk import sync
from jaxbert.errors import UserError
from jaxbert.hub.card import FILE as CARD
from jaxbert.hub.leftovers import NEW, OLD, claimed, clear_leftovers
from jaxbert.hub.sentence_modules import WRITTEN
from jaxbert.hub.sentence_prompts import PROMPTS
from jaxbert.manifest import MANIFEST
from jaxbert.text.files import TOKENIZER_FILES
from jaxbert.text.remote import check_is_here

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "merged",
    "params",
    MANIFEST,
    *TOKENIZER_FILES,
    *WRITTEN,
    PROMPTS,
    CARD,
)


@contextmanager
def whole_directory(directory: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty sibling to write into, which takes the place of `directory` on success.

    After a failure nothing is left and `directory` is as it was. An existing model is replaced
    only with `overwrite`, and never a directory that holds anything but a model's files. Of a link
    it is the directory behind it. What a killed process has left is cleared first.
    """
    check_is_here(directory)
    directory = Path(expanduser(directory))
    try:
        directory = directory.resolve()
        if directory == Path.cwd():
            raise UserError(
                f"{directory} is the current directory, whose place a new one would take: name it "
                "from outside, or another"
            )
        clear_leftovers(directory)
        _check_replaceable(directory, overwrite=overwrite)
        directory.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(
            prefix=f".{directory.name}.", dir=directory.parent, ignore_cleanup_errors=True
        )
    # Of links that lead in a circle Python before 3.13 raises the other one.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{directory} cannot be made ({reason}): choose another directory"
        ) from None
    with beside as scratch, claimed(Path(scratch)):
        new, old = Path(scratch, NEW), Path(scratch, OLD)
        new.mkdir()
        yield new
        _flush(new)
        try:
            if directory.exists():
                directory.rename(old)
            new.rename(directory)
        finally:
            # Interrupted between the two, the old model would go with the scratch directory.
            if old.exists() and not directory.exists():
                old.rename(directory)


def _check_replaceable(directory: Path, *, overwrite: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file: expected a directory to write the model into")
    names = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
    if names and not overwrite:
        raise UserError(
            f"{directory} is not empty: choose another, or pass overwrite (--overwrite)"
        )
    if foreign := foreign_files(directory):
        raise UserError(
            f"{directory} also holds {', '.join(foreign)}, so it is not replaced: choose another"
        )


def foreign_files(directory: Path) -> list[str]:
    """The names in a directory that are none of a model's."""
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    return [name for name in names if not _is_model_file(name)]


def _is_model_file(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in MODEL_FILES)


def _flush(directory: Path) -> None:
    """Forces the contents to disk, so that a crash after the rename cannot leave empty files."""
    for path in [*directory.rglob("*"), directory]:
        sync(path)
