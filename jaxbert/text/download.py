"""Files from the Hugging Face Hub or a URL, with every refusal in one readable line."""

import logging
from collections.abc import Sequence
from pathlib import Path

from jaxbert.errors import UnreachableError, UserError
from jaxbert.text.remote import fetch

log = logging.getLogger(__name__)


def is_here(path: Path) -> bool:
    """Whether there is a file or directory; UserError for a name that none can have."""
    try:
        return path.exists()
    except OSError as error:
        raise UserError(f"{path}: no file can have that name ({error.strerror})") from None


def download(
    hub_id: str,
    wanted: Sequence[str],
    *,
    optional: Sequence[str] = (),
    revision: str | None = None,
) -> Path:
    """The local directory with the files of a repository that match the `wanted` patterns.

    They are kept in the Hugging Face cache; HF_HUB_OFFLINE is respected. What matches `optional`
    is fetched too, and warned of where the cache lacks it and the Hub cannot be reached. A URL in
    place of the id is a directory in a bucket, or wherever fsspec opens it.
    """
    if "://" in hub_id:
        return fetch(hub_id, [*wanted, *optional])
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f" at revision {revision!r}" if revision else ""
    patterns = [*wanted, *optional]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        fault = f"{hub_id!r} is neither a directory here nor a valid hub id"
    except GatedRepoError:
        fault = f"{hub_id} is gated: accept its terms on huggingface.co, then run `hf auth login`"
    except RepositoryNotFoundError:
        fault = (
            f"{hub_id!r} is no directory here and no public model on huggingface.co: check the "
            "spelling, or run `hf auth login` if it is private"
        )
    except RevisionNotFoundError:
        fault = f"{hub_id} has no revision {revision!r} on huggingface.co"
    except LocalEntryNotFoundError:
        if optional:
            found = download(hub_id, wanted, revision=revision)
            log.warning(
                "%s%s: its copy in the Hugging Face cache may lack some of %s, and the Hub cannot "
                "be reached: read without them",
                *(hub_id, at, ", ".join(optional)),
            )
            return found
        # Asked for, it stays so.
        kind = UserError if constants.HF_HUB_OFFLINE else UnreachableError
        raise kind(
            f"{hub_id!r}{at} is no directory here, is not (as a whole) in the Hugging Face cache, "
            "and the Hub cannot be reached (or HF_HUB_OFFLINE is set): give a directory, or run "
            "this once with a network"
        ) from None
    except HfHubHTTPError as error:
        answer = " ".join(str(error).split())
        raise UnreachableError(f"{hub_id}{at}: the Hub answered {answer}") from None
    raise UserError(fault)
