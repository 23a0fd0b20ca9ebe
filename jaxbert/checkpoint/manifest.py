"""The list of a checkpoint's files that tells a whole one from a damaged one."""

import json
import os
from pathlib import Path

MANIFEST = "manifest.json"


def write_manifest(checkpoint: Path, folders: tuple[str, ...]) -> None:
    """Records the size in bytes of every file in some folders of a finished checkpoint."""
    sizes = {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for folder in folders
        for path in sorted((checkpoint / folder).rglob("*"))
        if path.is_file()
    }
    with (checkpoint / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(sizes, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def is_whole(checkpoint: Path) -> bool:
    """Whether every file is there at its size; a machine that lost power can leave others."""
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in sizes.items()
    )


def set_damaged_aside(directory: Path) -> list[Path]:
    """Renames the checkpoints that are not whole, so that the last whole one is the newest."""
    moved = []
    for checkpoint in sorted(directory.glob("*")):
        if checkpoint.name.isdigit() and not is_whole(checkpoint):
            moved.append(checkpoint.rename(_unused(checkpoint.with_suffix(".damaged"))))
    return moved


def _unused(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_suffix(f".damaged{number}")
    return path
