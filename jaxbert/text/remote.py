"""Files from a bucket or any other place that fsspec opens, kept in a cache."""

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.errors import UnreachableError, UserError

PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "abfs": "adlfs", "az": "adlfs"}
SIGN_IN = {"gs": "gcloud auth application-default login", "s3": "aws configure"}
# File systems that do not raise OSError alone, for want of credentials among others.
ERRORS = {
    "gcsfs.retry": ("HttpError", "ChecksumError"),
    "aiohttp.client_exceptions": ("ClientError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "botocore.exceptions": ("BotoCoreError",),
}


def fetch(url: str, wanted: Sequence[str]) -> Path:
    """A local directory with the files below `url` that match the `wanted` patterns.

    It is named after the contents as the file system tells them apart, so that it is fetched again
    exactly when one has changed. Raises UserError where there is nothing, or no way to it.
    """
    with reached(url) as (system, root):
        files = _matching(system, root, wanted)
        check_stays_inside(files, url)
        if not files:
            raise UserError(f"{url} holds none of the files wanted here, such as {wanted[0]}")
        marks = sorted((name, system.ukey(path)) for name, path in files.items())
        name = hashlib.sha256(repr((url, marks)).encode()).hexdigest()[:24]
        directory = cache_directory() / "fetched" / name
        if not directory.is_dir():
            _download(system, files, directory)
        return directory


@contextmanager
def reached(url: str, to_be: str = "read") -> Iterator[tuple[Any, str]]:
    """The file system of a URL and the path in it; every refusal of it is a UserError.

    `to_be`: what the message says that it cannot be.
    """
    try:
        import fsspec

        yield fsspec.core.url_to_fs(url)
    except ImportError:
        protocol = url.partition("://")[0]
        package = PACKAGES.get(protocol, "the fsspec implementation of it")
        # Of all these the one that an extra names.
        named = "'jaxbert[gcs]'" if package == "gcsfs" else package
        raise UserError(f"{url} needs {package}: pip install {named}") from None
    except FileNotFoundError:
        raise UserError(f"{url}: there is no such directory") from None
    except _refusals() as error:
        if isinstance(error, UserError):
            raise
        sign_in = SIGN_IN.get(url.partition("://")[0])
        advice = f"; if it is private, sign in first ({sign_in})" if sign_in else ""
        reason = " ".join(str(error).split())
        is_mistake = isinstance(error, ValueError | PermissionError)
        kind = UserError if is_mistake else UnreachableError
        raise kind(f"{url} cannot be {to_be}: {reason}{advice}") from None


def check_is_here(path: str | Path) -> None:
    """Raises UserError for a URL in the place of a path to write to.

    As a path it would be a directory `gs:` below the current one, and look like success.
    """
    # A Path keeps one of the two slashes.
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
        raise UserError(
            f"{path}: a URL, where only a path of this machine can be written: give a path, and "
            "copy what is there then"
        )


def check_stays_inside(names: Iterable[str], url: str) -> None:
    """Raises UserError for the name of a file that would lie outside of the directory it is for.

    A bucket, an archive or a list of files may be a stranger's, and hold any name.
    """
    for name in names:
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise UserError(f"{url}: a file in it is called {name!r}, which leads out of it")


def cache_directory() -> Path:
    """Where jaxbert keeps what it has fetched."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(expanduser(root)) / "jaxbert"


def _refusals() -> tuple[type[Exception], ...]:
    own = [
        getattr(sys.modules[name], error)
        for name, errors in ERRORS.items()
        if name in sys.modules
        for error in errors
    ]
    return (OSError, ValueError, RuntimeError, *own)


def _matching(system: Any, root: str, wanted: Sequence[str]) -> dict[str, str]:
    names = {path[len(root) :].strip("/"): path for path in system.find(root)}
    return {
        name: path
        for name, path in names.items()
        if name and any(fnmatch(name, pattern) for pattern in wanted)
    }


def _download(system: Any, files: dict[str, str], directory: Path) -> None:
    """Whole or not at all; another process may be doing the same."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, ignore_cleanup_errors=True) as scratch:
        new = Path(scratch, "new")
        for name, path in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(new / name))
        try:
            new.rename(directory)
        except OSError:
            if not directory.is_dir():
                raise
