"""Every shell script is free of what shellcheck finds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_cloud import TPU

SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which(
    "shellcheck"
)


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (extra `dev`)")
def test_shellcheck_finds_nothing():
    scripts = sorted(map(str, TPU.rglob("*.sh")))
    assert len(scripts) >= 12
    done = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_scripts_are_executable_and_sourced_files_are_not():
    files = [path for path in TPU.rglob("*.*") if path.is_file()]
    executable = {path.name for path in files if path.stat().st_mode & 0o100}
    sourced = {"flags.sh", "gcloud.sh"}
    scripts = {path.name for path in TPU.rglob("*.sh")} - sourced
    assert executable == scripts | {"run.py", "worker.py"}
