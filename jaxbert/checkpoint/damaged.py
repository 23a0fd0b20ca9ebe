"""Checkpoints that a crash left incomplete, out of the way of the whole ones."""

from pathlib import Path

from jaxbert.manifest import damage


def set_damaged_aside(directory: Path) -> list[Path]:
    """Renames the checkpoints that are not whole, so that the last whole one is the newest."""
    moved = []
    for checkpoint in sorted(directory.glob("*")):
        if checkpoint.name.isdecimal() and damage(checkpoint) is not None:
            moved.append(checkpoint.rename(_unused(checkpoint.with_suffix(".damaged"))))
    return moved


def _unused(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_suffix(f".damaged{number}")
    return path
