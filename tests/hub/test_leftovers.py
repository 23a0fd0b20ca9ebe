"""What a writer that was killed leaves beside the model, and what the next one makes of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxbert.errors import UserError
from jaxbert.hub.replace import whole_directory

KILLED = """
import os, signal, sys
from pathlib import Path
from jaxbert.hub.replace import whole_directory
at, directory = sys.argv[1:]
rename = Path.rename
def killed(path, target):
    if at == "second" and path.name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = killed
with whole_directory(directory, overwrite=True) as new:
    (new / "config.json").write_text("new")
    if at == "writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def write(directory: Path, text: str, **options: bool) -> None:
    with whole_directory(directory, **options) as new:
        (new / "config.json").write_text(text)


def kill(at: str, directory: Path) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, at, str(directory)], check=False)
    assert process.returncode == -9


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("at", ["writing", "second"])
def test_the_next_writer_clears_what_a_killed_one_left(tmp_path, at):
    model = tmp_path / "model"
    write(model, "old")
    kill(at, model)
    assert len(names(tmp_path)) == (2 if at == "writing" else 1)
    write(model, "newest", overwrite=True)
    assert names(tmp_path) == ["model"]
    assert (model / "config.json").read_text() == "newest"


def test_a_model_that_was_on_its_way_out_goes_back(tmp_path):
    model = tmp_path / "model"
    write(model, "old")
    kill("second", model)
    assert not model.exists()
    with pytest.raises(UserError, match="model is not empty"):
        write(model, "newest")
    assert (model / "config.json").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_another_writer_and_what_is_not_ours_are_left_alone(tmp_path):
    model = tmp_path / "model"
    for folder in (".model.abcdefgh/new", ".model.abcdefg1/mine", ".model.old.abcdefgh/old"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".model.notes").write_text("mine")
    with whole_directory(model) as first:
        write(model, "second")
        (first / "config.json").write_text("first")
        kept = [".model.abcdefg1", ".model.notes", ".model.old.abcdefgh"]
        assert names(tmp_path) == sorted([first.parent.name, *kept, "model"])
    assert (model / "config.json").read_text() == "first"
