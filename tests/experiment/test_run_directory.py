import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import draw_losses
from jaxbert.experiment.run_directory import (
    MAY_CHANGE,
    check_run,
    open_run,
)
from jaxbert.experiment.run_files import RunDirectory, read_run_config


@dataclass(frozen=True)
class Inner:
    nonfinite: str = "stop"
    accumulation_steps: int = 1


@dataclass(frozen=True)
class Config:
    seed: int = 0
    step: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class WithData(Config):
    train: str = "train.csv"
    validation: str | dict[str, str] | None = "dev.csv"


def opened(path: Path, config: Any) -> RunDirectory:
    with open_run(path, config) as run:
        return run


def begun(path: Path, config: Config) -> None:
    (opened(path, config).checkpoints / "10").mkdir(parents=True)


def test_a_run_directory_holds_its_configuration(tmp_path):
    opened(tmp_path / "runs" / "a", Config(seed=3))
    assert read_run_config(tmp_path / "runs" / "a") == {
        "seed": 3,
        "step": {"nonfinite": "stop", "accumulation_steps": 1},
    }
    assert read_run_config(tmp_path) is None


@pytest.mark.parametrize("path", ["/proc/x", "/dev/null/x"])
def test_a_run_where_nothing_can_be_made_is_told(path):
    with pytest.raises(UserError, match=f"^--run {path} cannot be made .*: name another directory"):
        opened(Path(path), Config())


def test_the_configuration_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    run = opened(tmp_path, Config())
    assert sizes == [run.config.stat().st_size, run.chosen.stat().st_size]


def test_a_changed_key_is_named_with_both_values(tmp_path):
    begun(tmp_path, Config())
    changed = Config(seed=1, step=Inner(accumulation_steps=2))
    with pytest.raises(UserError) as caught:
        opened(tmp_path, changed)
    message = str(caught.value)
    assert "seed was 0, is 1; step.accumulation_steps was 1, is 2" in message
    assert "\n" not in message
    assert read_run_config(tmp_path)["seed"] == 0
    opened(tmp_path, Config())


@pytest.mark.parametrize(
    ("validation", "text"),
    [
        (None, "validation was 'dev.csv', is None"),
        ({"a": "dev.csv"}, "validation was 'dev.csv', is {'a': 'dev.csv'}"),
    ],
)
def test_data_that_another_kind_of_value_names_are_told_as_they_were_written(
    tmp_path, validation, text
):
    begun(tmp_path, WithData())
    opened(tmp_path, WithData(train="moved/train.csv", validation="moved/dev.csv"))
    begun(tmp_path / "b", WithData())
    with pytest.raises(UserError) as caught:
        opened(tmp_path / "b", WithData(train="moved/train.csv", validation=validation))
    assert f"another configuration ({text})" in str(caught.value)


def test_what_no_update_depends_on_may_change(tmp_path):
    assert "step.nonfinite" in MAY_CHANGE
    begun(tmp_path, Config())
    opened(tmp_path, dataclasses.replace(Config(), step=Inner(nonfinite="skip")))
    assert read_run_config(tmp_path)["step"]["nonfinite"] == "skip"


def test_a_run_of_an_earlier_version_goes_on_where_options_came_since(tmp_path):
    """A key that it did not have stands for what was done then, which is its default."""
    begun(tmp_path, Config(seed=3))
    (tmp_path / "config.yaml").write_text("seed: 3\nstep: {nonfinite: stop}\n")
    with pytest.raises(UserError, match=r"\(step.accumulation_steps was 1, is 2\)"):
        opened(tmp_path, Config(seed=3, step=Inner(accumulation_steps=2)))
    opened(tmp_path, Config(seed=3))
    (tmp_path / "config.yaml").write_text("seed: 3\ngone: 1\n")
    with pytest.raises(UserError, match="gone was 1, is None"):
        opened(tmp_path, Config(seed=3))


@dataclass(frozen=True)
class Trained:
    store: Any
    validation: Any = None


def test_data_may_move_and_keep_their_names_and_weights(tmp_path):
    stores = [{"path": "a", "weight": 1.0}, {"path": "b", "weight": 2.0}]
    begun(tmp_path, Trained(stores, {"dev": "dev.tsv"}))
    moved = [stores[0] | {"path": "/elsewhere/a"}, stores[1]]
    opened(tmp_path, Trained(moved, {"dev": "/elsewhere/dev.tsv"}))
    assert read_run_config(tmp_path)["store"] == moved
    for other in (
        Trained(moved[:1], {"dev": "dev.tsv"}),
        Trained([moved[0], moved[1] | {"weight": 3.0}], {"dev": "dev.tsv"}),
        Trained(moved, {"test": "dev.tsv"}),
        Trained(moved, "dev.tsv"),
        Trained("a", {"dev": "dev.tsv"}),
    ):
        with pytest.raises(UserError, match="a run of another configuration"):
            opened(tmp_path, other)


def test_a_run_without_a_checkpoint_takes_another_configuration(tmp_path):
    run = opened(tmp_path, Config())
    (run.checkpoints / "10.orbax-checkpoint-tmp").mkdir(parents=True)
    opened(tmp_path, Config(seed=5))
    assert read_run_config(tmp_path)["seed"] == 5


def test_a_second_command_leaves_the_configuration_of_the_first_alone(tmp_path):
    with open_run(tmp_path, Config()):
        with pytest.raises(UserError, match="another process is training in this run"):
            opened(tmp_path, Config(seed=5))
        assert read_run_config(tmp_path)["seed"] == 0
    opened(tmp_path, Config(seed=5))
    assert read_run_config(tmp_path)["seed"] == 5


def test_a_configuration_that_was_cut_off_is_no_obstacle(tmp_path):
    (tmp_path / "config.tmp").write_text("see")
    (tmp_path / ".processes").write_text("12")
    # Another process may be writing it, which is only looked at here.
    check_run(tmp_path, Config())
    opened(tmp_path, Config(seed=3))
    assert read_run_config(tmp_path)["seed"] == 3


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UserError, match="neither empty nor a run"):
            opened(path, Config())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["grid[1]", "what?", "a*b/run"])
def test_a_path_in_which_checkpoints_would_be_lost_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"in a path for a pattern.*: give one without"):
        opened(tmp_path / name, Config())
    assert not any(tmp_path.iterdir())


def test_what_would_stand_in_the_way_of_the_model_is_named_at_the_start(tmp_path):
    model = opened(tmp_path, Config()).model
    (model / ".git").mkdir(parents=True)
    (model / "config.json").touch()
    with pytest.raises(UserError, match=r"model also holds \.git, and is written anew"):
        opened(tmp_path, Config())


def test_a_check_writes_nothing(tmp_path):
    check_run(tmp_path / "new", Config())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["seed: [", "- seed", ""])
def test_a_configuration_that_was_spoilt_is_one_line_that_names_the_file(tmp_path, text):
    begun(tmp_path, Config())
    (tmp_path / "config.yaml").write_text(text)
    for read in (read_run_config, lambda path: check_run(path, Config())):
        with pytest.raises(UserError, match=r"config\.yaml: ") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_run_of_any_name_gets_its_curve(tmp_path):
    run = RunDirectory(tmp_path / "\udcff $\\x$")
    run.path.mkdir()
    run.metrics.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.0}\n')
    draw_losses(run)
    assert run.loss_curve.read_bytes().startswith(b"\x89PNG")
