"""A local copy of a token store that lies in a bucket or at another URL."""

import hashlib
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from jaxbert.data.description import parse_metadata
from jaxbert.data.store import METADATA, file_sizes
from jaxbert.errors import UserError
from jaxbert.text.remote import cache_directory, check_stays_inside, reached

_AT_A_TIME = 8


def mirror(url: str) -> Path:
    """The local directory of a store; files that are there whole are not fetched again.

    It is named after what store.json says, checksums of everything included, so another store at
    the same URL is another directory.
    """
    url = url.rstrip("/")
    with reached(url) as (system, root):
        if not system.exists(f"{root}/{METADATA}"):
            raise UserError(
                f"{url}: no token store is there, or one whose upload was interrupted (it has no"
                f" {METADATA})"
            )
        text = system.cat_file(f"{root}/{METADATA}")
        sizes = file_sizes(parse_metadata(text, f"{url}/{METADATA}"))
        check_stays_inside(sizes, url)
        directory = cache_directory() / "stores" / hashlib.sha256(text).hexdigest()[:24]
        missing = {name: size for name, size in sizes.items() if _size(directory / name) != size}
        _fetch(system, root, missing, directory, url)
        known = directory / METADATA
        # Others may be reading it.
        if not known.is_file() or known.read_bytes() != text:
            directory.mkdir(parents=True, exist_ok=True)
            new = _part(directory, METADATA)
            new.write_bytes(text)
            new.replace(known)
    return directory


def _fetch(system: Any, root: str, missing: Mapping[str, int], directory: Path, url: str) -> None:
    console = Console(stderr=True)
    total = sum(missing.values())
    if missing and not console.is_terminal:
        console.print(
            f"fetching {total / 1e6:,.0f} MB of {url} to {directory}", soft_wrap=True, markup=False
        )
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )

    def fetch(name: str) -> None:
        _fetch_file(system, f"{root}/{name}", directory, name, missing[name])
        bar.advance(task, missing[name])

    with bar, ThreadPoolExecutor(_AT_A_TIME) as pool:
        task = bar.add_task(url, total=total)
        for _ in pool.map(fetch, missing):
            pass


def _fetch_file(system: Any, remote: str, directory: Path, name: str, size: int) -> None:
    local, new = directory / name, _part(directory, name)
    local.parent.mkdir(parents=True, exist_ok=True)
    try:
        with suppress(FileNotFoundError):
            system.get_file(remote, str(new))
        found = _size(new)
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes"
            raise UserError(
                f"{remote}: the store is damaged: the file {state}, expected {size} bytes;"
                " upload it again"
            )
        new.replace(local)
    finally:
        new.unlink(missing_ok=True)


def _part(directory: Path, name: str) -> Path:
    """Where a file is written before it is whole.

    Of a name of its own, as two processes or machines may fetch the same store, and never beside
    the files of the tokenizer, which are that store's tokenizer whatever they are called.
    """
    return directory / f"{name.replace('/', '.')}.{secrets.token_hex(8)}.part"


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
