"""Where a model's files come from: a directory of this machine, or the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from jaxbert.errors import UserError

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
    return _download(str(path_or_hub_id), revision)


def _model_directory(directory: Path) -> Path:
    inside = directory / "model"
    if (directory / "config.json").is_file():
        return directory
    if (inside / "config.json").is_file():
        return inside
    raise UserError(f"{directory} holds no config.json: expected a model directory, or a run's")


def _can_be_hub_id(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1


def _download(name: str, revision: str | None) -> Path:
    at = f" at revision {revision!r}" if revision else ""
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    except HFValidationError:
        raise UserError(f"{name!r} is neither a directory here nor a valid hub id") from None
    except GatedRepoError:
        raise UserError(
            f"{name} is gated: accept its terms on huggingface.co, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{name!r} is no directory here and no public model on huggingface.co: check the "
            f"spelling, or run `hf auth login` if it is private"
        ) from None
    except (RevisionNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise UserError(
                f"{name!r}{at} is no directory here, is not in the Hugging Face cache, and the Hub "
                f"cannot be reached (or HF_HUB_OFFLINE is set): give a directory"
            ) from None
        raise UserError(f"{name} has no revision {revision!r} on huggingface.co") from None
    except HfHubHTTPError as error:
        raise UserError(f"{name}{at}: the Hub answered {error}") from None
