"""A directory of several runs, which is no run or model itself."""

from os.path import expanduser
from pathlib import Path

from jaxbert.errors import UserError
from jaxbert.text.download import is_here
from jaxbert.text.vocabulary import read_object

SUMMARY = "sweep.json"
"""What the runs of a sweep have given, and which is `best`."""


def check_is_one_run(path: str | Path) -> None:
    """Raises UserError for a directory of several runs, with the name of the best."""
    path = Path(expanduser(path))
    if not is_here(path) or (path / "config.yaml").exists():
        return
    best = read_object(path / SUMMARY).get("best")
    begun = sorted(file.parent for file in path.glob("seed-*/config.yaml"))
    if isinstance(best, str):
        raise UserError(f"{path} holds several runs: name one, such as the best, {path / best}")
    if begun:
        raise UserError(f"{path} holds several runs: name one, such as {begun[0]}")
    if (path / SUMMARY).exists():
        raise UserError(f"{path} holds several runs, and no best one is known: name one")
