"""A run that is started again finds what the first process compiled."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from argparse import Namespace
from pathlib import Path

import jax
import pyarrow
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
    assert "persistent compilation cache" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_process_compiles_nothing_that_the_first_one_kept(
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
    # Of one program the writing was cut off: it alone is compiled again, without a word.
    entry = max((run / "compiled").glob("*-cache"), key=lambda entry: entry.stat().st_size)
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    second = counted(environment, configuration, run)
    assert second == {"status": 0, "hits": first["misses"] + first["hits"] - 1, "misses": 1}
    assert zlib.decompress(entry.read_bytes())


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
    keep_programs(Namespace(no_compilation_cache=True), str(tmp_path), is_first=True)
    assert changed == {"jax_enable_compilation_cache": False}
    changed.clear()
    keep_programs(Namespace(no_compilation_cache=False), str(tmp_path), is_first=True)
    assert changed == {}
    monkeypatch.undo()


NAME = f"jit_step-{'0a' * 32}-cache"


@pytest.mark.parametrize("codec", ["zlib", "zstd"])
def test_what_was_not_written_to_its_end_is_deleted_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codec: str
):
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", None)
    data = b"program" * 100_000 + bytes(range(256))
    whole = zlib.compress(data) if codec == "zlib" else pyarrow.compress(data, codec, asbytes=True)
    (tmp_path / "compiled").mkdir()
    entry, foreign = tmp_path / "compiled" / NAME, tmp_path / "compiled" / "my-cache"
    foreign.write_bytes(b"")
    for length in (0, 3, 4, len(whole) // 2, len(whole) - 1, len(whole)):
        entry.write_bytes(whole[:length])
        keep_programs(Namespace(no_compilation_cache=False), str(tmp_path), is_first=False)
        assert entry.exists()
        keep_programs(Namespace(no_compilation_cache=False), str(tmp_path), is_first=True)
        assert entry.exists() == (length == len(whole))
    assert foreign.exists()
