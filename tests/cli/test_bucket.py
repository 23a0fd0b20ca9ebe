"""A run in a bucket from the command line, for which fsspec's memory stands in; goodput."""

import json
from pathlib import Path

import fsspec
import jax
import pytest
from experiment.small_runs import after_polls

from jaxbert.cli import main
from jaxbert.training.signals import Preemption

URL = "memory://bucket/runs/base"


def test_a_preempted_run_in_a_bucket_goes_on_on_another_machine(
    configuration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    jax.config.update("jax_disable_most_optimizations", True)
    overrides = ["num_steps=6", "loop.checkpoint_every=4", "data.validation_fraction=0"]
    words = ["pretrain", str(configuration), "loop.evaluate_every=null", *overrides]
    with monkeypatch.context() as first:
        asks = after_polls(3)
        first.setattr(Preemption, "requested", lambda preemption: asks())
        first.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
        assert main([*words, "--run", URL]) == 75
    assert (
        f"preempted: saved at step 3; the same command continues {URL}" in capsys.readouterr().out
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    assert main([*words, "--run", f"{URL}/"]) == 0
    jax.config.update("jax_disable_most_optimizations", False)
    shown = capsys.readouterr()
    assert "continuing after step 3" in shown.err
    assert f"the model, of step 6, is in {URL}/model" in shown.out
    system = fsspec.filesystem("memory")
    names = {path.removeprefix("/bucket/runs/base/") for path in system.find(URL)}
    whole = {f"checkpoints/{step}/manifest.json" for step in (4, 6)}
    assert {"config.yaml", "all_results.json", "model/model.safetensors", *whole} <= names
    rows = [json.loads(line) for line in system.cat_file(f"{URL}/metrics.jsonl").splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert main(["goodput", URL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sessions"] == 2
    system.rm("bucket", recursive=True)


def test_what_has_to_be_put_right_is_in_the_bucket(
    configuration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    system = fsspec.filesystem("memory")
    system.pipe(f"{URL}/config.yaml", b"seed: 7")
    system.pipe(f"{URL}/checkpoints/3/manifest.json", b"{}")
    assert main(["pretrain", str(configuration), "--run", f"{URL}/"]) == 2
    assert f"pretrain: {URL} is a run of another configuration" in capsys.readouterr().err
    system.rm("bucket", recursive=True)


def test_the_goodput_of_a_run_is_told_by_activity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    seconds = {"train": 60.0, "data": 5.0, "compile": 20.0, "restore": 4.0, "save": 1.0}
    sessions = [
        {
            "started": f"2026-01-01T00:0{minute}:00+00:00",
            "first_step": first,
            "last_step": first + 10,
            "seconds": seconds,
        }
        for minute, first in ((0, 0), (2, 5))
    ]
    (tmp_path / "goodput.json").write_text(json.dumps({"sessions": sessions}))
    assert main(["goodput", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # The second session does five of the ten steps of the first again, and begins 30 s after it.
    expected = {"train": 90.0, "lost": 30.0, "down": 30.0, "compile": 40.0, "restore": 8.0}
    assert {name: found[name] for name in expected} == expected
    assert found["goodput"] == 90 / 210
    assert main(["goodput", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for name in ("train", "compile", "restore", "save", "data", "lost", "down"):
        assert name in shown
    assert main(["goodput", str(tmp_path / "none")]) == 2
    assert "no goodput.json in there" in capsys.readouterr().err
