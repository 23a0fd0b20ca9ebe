"""The list of a directory's files that tells a whole copy from a damaged one."""

import json
from collections.abc import Sequence
from pathlib import Path

from jaxbert.disk import write_whole

MANIFEST = "manifest.json"


def write_manifest(directory: Path, folders: Sequence[str]) -> None:
    """Records the size in bytes of every file in some folders of a finished directory."""
    sizes = {
        path.relative_to(directory).as_posix(): path.stat().st_size
        for folder in folders
        for path in sorted((directory / folder).rglob("*"))
        if path.is_file()
    }
    write_whole(directory / MANIFEST, json.dumps(sizes, indent=1))


def damage(directory: Path) -> str | None:
    """The first file that is not there at its size; None where all are, whatever they hold.

    A machine that lost power can leave such files, and so can a broken copy.
    """
    path = directory / MANIFEST
    try:
        sizes = json.loads(path.read_text(encoding="utf-8"))
        for name, size in sizes.items():
            file = directory / name
            if not file.is_file():
                return f"{file} is not there"
            if file.stat().st_size != size:
                return f"{file} has {file.stat().st_size} bytes of {size}"
    except FileNotFoundError:
        return f"{path} is not there"
    except (OSError, ValueError, AttributeError, RecursionError):
        return f"{path} cannot be read"
    return None
