"""Checkpoints that a crash left incomplete, out of the way of the whole ones."""

import shutil
from pathlib import Path

from jaxbert.manifest import damage


def set_damaged_aside(directory: Path) -> list[Path]:
    """Renames the checkpoints that are not whole, so that the last whole one is the newest.

    One that is older than a whole one is deleted: a kill met Orbax at its deletion, after which
    nobody would ever delete it. Newer ones may have what can be saved by hand.
    """
    checkpoints = [path for path in sorted(directory.glob("*")) if path.name.isdecimal()]
    damaged = [path for path in checkpoints if damage(path) is not None]
    newest = max((int(path.name) for path in checkpoints if path not in damaged), default=-1)
    moved = []
    for checkpoint in damaged:
        if int(checkpoint.name) < newest and _is_ours(checkpoint):
            shutil.rmtree(checkpoint)
        else:
            moved.append(checkpoint.rename(_unused(checkpoint.with_suffix(".damaged"))))
    return moved


def _is_ours(checkpoint: Path) -> bool:
    """Whether Orbax can have made it, which would delete it by its name too."""
    is_named = checkpoint.name == str(int(checkpoint.name))
    return is_named and checkpoint.is_dir() and not checkpoint.is_symlink()


def _unused(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_suffix(f".damaged{number}")
    return path
