import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.small_runs import after_polls, fine_tuning, trajectory
from safetensors.numpy import load_file, save_file

from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment import feature_cache
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import evaluate_labelled, ready, section_of

FROZEN = ("optimizer.freeze_layers=all", "num_epochs=1", "dropout.hidden=0", "dropout.attention=0")
CACHED = (*FROZEN, "cache_features=true")


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "all_results.json").read_text())


def exported(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "model" / "model.safetensors")


def losses(run: Path, name: str) -> list[float]:
    return [row[name] for row in trajectory(run) if name in row]


@pytest.fixture
def not_computed(monkeypatch: pytest.MonkeyPatch):
    def compute(*arguments: Any) -> None:
        raise AssertionError("the encoder runs again")

    return lambda: monkeypatch.setattr(feature_cache, "_compute", compute)


def test_computing_features_is_interrupted_between_batches_and_leaves_nothing(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path
):
    config = fine_tuning(pretrained, *tables, *CACHED)
    fitted = finetune(config, tmp_path / "run", interrupted=after_polls(2), quiet=True)
    assert (fitted.outcome, fitted.params) == ("preempted", None)
    assert not list((tmp_path / "run" / "features").iterdir())


def test_what_a_killed_process_left_of_features_goes_and_what_another_writes_stays(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path
):
    features = tmp_path / "features"
    features.mkdir()
    left, written, empty = (features / f"0.{name}.tmp" for name in ("left", "written", "empty"))
    left.write_bytes(b"half")
    written.write_bytes(b"half")
    empty.touch()
    config = fine_tuning(pretrained, *tables, *FROZEN, f"cache_features={features}")
    with written.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        finetune(config, tmp_path / "run", quiet=True)
    assert {*features.glob("*.tmp")} == {written, empty}
    assert len([*features.glob("*.npy")]) == 2


def test_a_cached_run_is_the_frozen_run_and_its_model_is_whole(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path, not_computed
):
    finetune(fine_tuning(pretrained, *tables, *FROZEN), tmp_path / "frozen", quiet=True)
    finetune(fine_tuning(pretrained, *tables, *CACHED), tmp_path / "cached", quiet=True)
    for name in ("loss", "grad_norm", "eval/loss"):
        frozen = losses(tmp_path / "frozen", name)
        assert frozen
        np.testing.assert_allclose(losses(tmp_path / "cached", name), frozen, rtol=1e-4)
    before, after = exported(tmp_path / "frozen"), exported(tmp_path / "cached")
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, atol=1e-5, err_msg=name)
    model = ready(tmp_path / "cached")
    found = evaluate_labelled(model, str(tables[1]), section_of(model), Reading(32))
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(found[name], results(tmp_path / "cached")[f"eval_{name}"], 1e-5)
    files = (tmp_path / "cached" / "features").iterdir()
    assert sorted(np.load(file).shape for file in files) == [(13, 1, 16), (60, 1, 16)]

    not_computed()
    finetune(fine_tuning(pretrained, *tables, *CACHED), tmp_path / "cached", quiet=True)
    assert all((exported(tmp_path / "cached")[name] == after[name]).all() for name in after)
    shared = f"cache_features={tmp_path / 'cached' / 'features'}"
    again = fine_tuning(pretrained, *tables, *FROZEN, shared, "seed=1")
    finetune(again, tmp_path / "again", quiet=True)
    other = fine_tuning(pretrained, *tables, *FROZEN, shared, "task.pooling=mean")
    with pytest.raises(AssertionError, match="the encoder runs again"):
        finetune(other, tmp_path / "other", quiet=True)


def test_a_head_does_not_go_on_with_another_encoder(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path
):
    model = tmp_path / "model"
    shutil.copytree(pretrained / "model", model)
    finetune(fine_tuning(model, *tables, *CACHED), tmp_path / "run", quiet=True)
    values = load_file(model / "model.safetensors")
    name = next(name for name in values if name.endswith("layer.0.output.dense.weight"))
    save_file(values | {name: values[name] * 2}, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="the frozen encoder is not what the run had"):
        finetune(fine_tuning(model, *tables, *CACHED), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cache_features=true",), "set optimizer.freeze_layers=all"),
        # The head's optimiser, which is all there is, knows no parameter of the encoder.
        (
            ("cache_features=true", "optimizer.freeze=[encoder]"),
            "set optimizer.freeze_layers=all, in place of patterns of optimizer.freeze",
        ),
        ((*CACHED, "unfreezing={every: epoch}"), "and no unfreezing"),
        ((*CACHED, "packing=true"), "set packing=false"),
        ((*FROZEN, "cache_features=gs://b/features"), "gs://b/features: a URL, where only a path"),
        ((*FROZEN, "cache_features=/dev/null"), "cache_features=/dev/null: no directory"),
    ],
)
def test_what_cannot_be_cached_is_refused_before_anything_is_written(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path, overrides, message: str
):
    with pytest.raises(UserError, match=message):
        finetune(fine_tuning(pretrained, *tables, *overrides), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("evaluation_batch_size=9",), "evaluation_batch_size=9 is not a multiple"),
        (("batch_size=9",), "batch_size=9 is not a multiple of step.accumulation_steps"),
        (("loop.early_stopping_patience=1", "checkpoint.metric=null"), "needs checkpoint.metric"),
        (("optimizer.freeze=[encoder/embeddings]",), "'encoder/embeddings' matches no parameter"),
        (("optimizer.groups=[{params: layers, factor: 2}]",), "'layers' matches no parameter"),
    ],
)
def test_what_could_not_be_trained_is_refused_before_features_are_computed(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path, overrides, message, not_computed
):
    not_computed()
    config = fine_tuning(pretrained, *tables, *CACHED, *overrides)
    with pytest.raises(UserError, match=message):
        finetune(config, tmp_path / "run", quiet=True)


def test_features_that_do_not_fit_on_the_disk_are_refused_first(tmp_path: Path):
    with pytest.raises(UserError, match=r"the features need 4000000\.0 GB"):
        feature_cache._new_file(tmp_path / "features" / "f.npy", (10**9, 1000, 1000))
