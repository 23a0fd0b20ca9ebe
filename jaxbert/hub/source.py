"""Where a model's files come from: a directory of this machine, or the Hugging Face Hub."""

from pathlib import Path

from jaxbert.errors import UserError
from jaxbert.text.download import download

# No pickled weights: they are never read, so they are not fetched.
WANTED = [
    "config.json",
    "model*.safetensors",
    "model*.safetensors.index.json",
    "params/*",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
]


def find_model(path_or_hub_id: str | Path, *, revision: str | None = None) -> Path:
    """The local directory that holds a model's config.json.

    Takes a model directory, a run directory (its `model/`), or a hub id, which is downloaded into
    the Hugging Face cache (HF_HUB_OFFLINE is respected). `revision` is for hub ids only.
    """
    directory = Path(path_or_hub_id).expanduser()
    if directory.is_dir():
        if revision is not None:
            raise UserError(f"{directory} is a directory: revision={revision!r} is for hub ids")
        return _model_directory(directory)
    if directory.exists():
        raise UserError(f"{directory} is a file: expected a model directory or a hub id")
    if not _can_be_hub_id(str(path_or_hub_id)):
        raise UserError(f"{directory}: there is no such directory")
    return download(str(path_or_hub_id), WANTED, revision=revision)


def _model_directory(directory: Path) -> Path:
    inside = directory / "model"
    if (directory / "config.json").is_file():
        return directory
    if (inside / "config.json").is_file():
        return inside
    raise UserError(f"{directory} holds no config.json: expected a model directory, or a run's")


def _can_be_hub_id(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1
