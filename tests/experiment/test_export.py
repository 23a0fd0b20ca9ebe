"""Models from checkpoints of runs, which are those that the runs leave, to the last bit."""

import json
import shutil
from pathlib import Path

import pytest
from experiment.small_runs import fine_tuning, pretraining

from jaxbert.errors import UserError
from jaxbert.experiment.export import export_checkpoint
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.pretrain import pretrain
from jaxbert.hub.load import load_params
from jaxbert.hub.source import find_model


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_a_checkpoint_of_the_last_step_is_the_model_of_the_run(pretrained, tmp_path):
    for number, step in enumerate((12, "latest")):
        exported = export_checkpoint(pretrained, tmp_path / str(number), step)
        assert exported.steps == (12,)
        assert contents(tmp_path / str(number)) == contents(pretrained / "model")


def test_an_earlier_checkpoint_is_the_model_of_a_run_that_ended_there(store, tmp_path):
    """With what was evaluated at that step in its card."""
    plan = ("schedule.kind=constant", "loop.evaluate_every=1")
    run, shorter = tmp_path / "long" / "run", tmp_path / "short" / "run"
    pretrain(pretraining(store, *plan, "num_steps=2"), run, quiet=True)
    pretrain(pretraining(store, *plan, "num_steps=1"), shorter, quiet=True)
    export_checkpoint(run, tmp_path / "1", 1)
    found, expected = contents(tmp_path / "1"), contents(shorter / "model")
    cards = [files.pop("README.md").decode() for files in (found, expected)]
    assert found == expected != contents(run / "model")
    assert cards[0].replace("| num_steps | 2 |", "| num_steps | 1 |") == cards[1]


def test_a_run_that_is_going_on_is_not_touched(pretrained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(pretrained, run, ignore=shutil.ignore_patterns("model"))
    with pytest.raises(UserError, match=r"not ended.*`jaxbert convert \S+run DEST --step latest`"):
        find_model(run)
    checkpoints = run / "checkpoints"
    # What it is writing at the moment, and what a crash has left of a newer one.
    (checkpoints / "16.orbax-checkpoint-tmp").mkdir()
    shutil.copytree(checkpoints / "12", checkpoints / "20")
    (checkpoints / "20" / "manifest.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (run, *run.rglob("*"))}
    assert export_checkpoint(run, tmp_path / "model", "latest").steps == (12,)
    assert {path: path.stat().st_mtime_ns for path in (run, *run.rglob("*"))} == before
    assert load_params(tmp_path / "model").fresh == ()


def test_what_cannot_be_exported_is_said_in_one_line(pretrained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(pretrained, run)
    largest = max((run / "checkpoints" / "12").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    shutil.copy(run / "config.yaml", tmp_path / "begun")
    shutil.copytree(run, tmp_path / "seeds" / "seed-1")
    for place, step, expected in (
        (run, 7, r"no checkpoint of step 7: those of 8, 12 are there"),
        (run, 12, r"checkpoints/12 is damaged \(.* bytes of \d+\): take another checkpoint"),
        (run / "model", 12, "model is not a run "),
        (tmp_path / "empty", "latest", "is not a run "),
        (tmp_path / "nowhere", "latest", "is not a run "),
        (tmp_path / "begun", "latest", "has no checkpoint yet"),
        (tmp_path / "seeds", "latest", "several runs: name one"),
        ("gs://bucket/run", 12, "copy config.yaml, metrics.jsonl and the checkpoint"),
    ):
        with pytest.raises(UserError, match=expected) as error:
            export_checkpoint(place, tmp_path / "out", step)
        assert "\n" not in str(error.value)
    assert export_checkpoint(run, tmp_path / "out", "latest").steps == (8,)
    (run / "checkpoints" / "8" / "manifest.json").unlink()
    with pytest.raises(UserError, match="every checkpoint there is damaged"):
        export_checkpoint(run, tmp_path / "other", "latest")
    with pytest.raises(UserError, match="out is not empty"):
        export_checkpoint(pretrained, tmp_path / "out", 12)


def test_the_store_of_a_run_tells_its_tokenizer(store, pretrained, tmp_path):
    run, config = tmp_path / "run", pretrained / "config.yaml"
    shutil.copytree(pretrained, run)
    for place, expected in (
        (tmp_path / "none", "none: no such token store"),
        (store_of_other_tokens(store, tmp_path), "other is not what the run had .*; put the data"),
    ):
        (run / "config.yaml").write_text(config.read_text().replace(str(store), str(place)))
        with pytest.raises(UserError, match=expected):
            export_checkpoint(run, tmp_path / "out", "latest")


def store_of_other_tokens(store: Path, directory: Path) -> Path:
    shutil.copytree(store, directory / "other")
    metadata = directory / "other" / "store.json"
    values = json.loads(metadata.read_text())
    for shard in values["shards"]:
        shard["crc32c"]["tokens"] ^= 1
    metadata.write_text(json.dumps(values))
    return directory / "other"


@pytest.fixture(scope="module")
def classifier(pretrained, tables, tmp_path_factory) -> Path:
    """Its dropout is the run's, and its best checkpoint is what it exports."""
    run = tmp_path_factory.mktemp("classifier") / "run"
    overrides = ("dropout.hidden=0.2", "num_steps=14", "loop.evaluate_every=7")
    finetune(fine_tuning(pretrained, *tables, *overrides), run, quiet=True)
    return run


def test_a_checkpoint_of_fine_tuning_is_its_model_too(classifier, tmp_path):
    step = json.loads((classifier / "all_results.json").read_text())["step"]
    export_checkpoint(classifier, tmp_path / "out", step)
    assert contents(tmp_path / "out") == contents(classifier / "model")


def test_fine_tuning_on_other_data_or_with_what_no_checkpoint_holds_is_refused(
    classifier, tables, tmp_path
):
    run, config = tmp_path / "run", classifier / "config.yaml"
    shutil.copytree(classifier, run)
    for old, new, expected in (
        (str(tables[0]), str(tables[1]), "the training data is not what the run had"),
        ("hidden: 0.2", "hidden: 0.1", r"hidden_dropout_prob was 0\.2, is 0\.1; put back"),
        ("cache_features: false", "cache_features: true", "a checkpoint holds the head alone"),
    ):
        assert old in config.read_text()
        (run / "config.yaml").write_text(config.read_text().replace(old, new))
        with pytest.raises(UserError, match=expected):
            export_checkpoint(run, tmp_path / "out", "latest")
