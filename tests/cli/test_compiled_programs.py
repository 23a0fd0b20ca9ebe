"""A run that is started again finds what the first process compiled."""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import jax
import pytest
import quick_programs

from jaxbert.cli.compiled_programs import keep_programs

CODE = """
import collections, json, sys
import jax
from jaxbert.cli import main
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: seen.update([name.rpartition("/")[2]]))
status = main(sys.argv[1:])
print(json.dumps({"status": status, "hits": seen["cache_hits"], "misses": seen["cache_misses"]}))
"""


@pytest.fixture(scope="module")
def environment():
    chosen = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    return kept | {
        **quick_programs.ENVIRONMENT,
        # Every program is kept: with a threshold, a busy machine decides which ones count.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def counted(environment, configuration: Path, run: Path, *words: str) -> dict[str, int]:
    short = ("num_steps=2", "data.validation_fraction=0", "model.overrides.num_hidden_layers=1")
    command = ["pretrain", str(configuration), *short, "--run", str(run), *words]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_compiles_nothing_that_the_first_one_did(
    environment, configuration, tmp_path
):
    run = tmp_path / "run"
    first = counted(environment, configuration, run)
    assert first["misses"] > 0
    assert any((run / "compiled").iterdir())
    # All else is gone, as after a preemption before the first checkpoint.
    for entry in run.iterdir():
        if entry.name != "compiled":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    second = counted(environment, configuration, run)
    assert second == {"status": 0, "hits": first["misses"] + first["hits"], "misses": 0}


@pytest.fixture
def chosen_directory(tmp_path):
    """A cache that was chosen before, such as by JAX_COMPILATION_CACHE_DIR."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_directory_that_was_chosen_stays_and_none_may_be_wanted(
    chosen_directory, monkeypatch, tmp_path
):
    changed = {}
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    keep_programs(Namespace(no_compilation_cache=True), str(tmp_path))
    assert changed == {"jax_enable_compilation_cache": False}
    changed.clear()
    keep_programs(Namespace(no_compilation_cache=False), str(tmp_path))
    assert changed == {}
    monkeypatch.undo()
