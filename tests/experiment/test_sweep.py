"""Sweeps over values and seeds, with a training that only counts."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from experiment.small_runs import pretraining

from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.cli import main
from jaxbert.cli.figures import print_outcome, print_spread
from jaxbert.cli.sweeps import report
from jaxbert.errors import DivergedError, UserError
from jaxbert.experiment.fit import Fitted
from jaxbert.experiment.inference import ready
from jaxbert.experiment.pretrain import check_pretraining
from jaxbert.experiment.pretraining_data import data_fingerprints, open_stores
from jaxbert.experiment.spread import Figure
from jaxbert.experiment.sweep import Point, sweep
from jaxbert.experiment.sweep_outcome import Choice, Row, outcome_of
from jaxbert.experiment.sweep_picture import draw_sweep, picture_of
from jaxbert.hub.several_runs import check_is_one_run
from jaxbert.hub.source import find_model

ACCURACY = CheckpointConfig(metric="accuracy")


@dataclass(frozen=True)
class Config:
    rate: float | str = 1.0
    seed: int = 0
    checkpoint: CheckpointConfig = ACCURACY
    kind: str = "finetune"
    validation_names: tuple[str, ...] = ("",)


class Training:
    """Gives figures that depend on rate and seed; is preempted or diverges where it is told."""

    def __init__(self, preempted_at: int | None = None, diverges_at: float | None = None):
        self.calls: list[tuple[float | str, int, Path]] = []
        self.preempted_at, self.diverges_at = preempted_at, diverges_at

    def __call__(self, config: Config, path: Path, *, quiet: bool, interrupted) -> Fitted:
        assert quiet
        assert not interrupted()
        self.calls.append((config.rate, config.seed, path))
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.yaml").touch()
        if len(self.calls) == self.preempted_at:
            return Fitted(None, "preempted", 1, {}, {})
        if config.rate == self.diverges_at:
            raise DivergedError("loss nan")
        accuracy = 0.5 + config.seed**2 / 100 - (len(str(config.rate)) - 1) / 10
        results = {"eval_accuracy": accuracy, "eval_loss": 1 - accuracy, "step": 3.0}
        results |= {"eval_f1": math.nan} if config.seed else {}
        (path / "all_results.json").touch()
        return Fitted({}, "finished", 3, results, {})


def run(training: Training, path: Path, rates=(), seeds=None, **given):
    points = [Point({"x.rate": rate}, Config(rate, **given)) for rate in rates]
    return sweep(training, points or [Point({}, Config(**given))], path, seeds=seeds, quiet=True)


def names(training: Training, path: Path) -> list[str]:
    return [str(place.relative_to(path)) for _, _, place in training.calls]


def summary(path: Path) -> dict:
    return json.loads((path / "sweep.json").read_text())


def test_every_seed_is_a_run_and_their_figures_are_summed_up(tmp_path):
    training = Training()
    found = run(training, tmp_path, seeds=range(1, 4))
    assert training.calls == [(1.0, seed, tmp_path / f"seed-{seed}") for seed in (1, 2, 3)]
    accuracies = [0.31, 0.34, 0.39]
    [row] = found.rows
    assert row.figures["eval_accuracy"].values == pytest.approx(accuracies)
    assert row.figures["eval_accuracy"].mean == pytest.approx(np.mean(accuracies))
    assert row.figures["eval_accuracy"].deviation == pytest.approx(np.std(accuracies, ddof=1))
    assert found.best == summary(tmp_path)["best"] == "seed-3"
    [point] = summary(tmp_path)["points"]
    assert (point["values"], point["seeds"]) == ({}, [1, 2, 3])
    assert point["figures"]["eval_accuracy"]["mean"] == row.figures["eval_accuracy"].mean
    nothing = {"mean": None, "deviation": None, "values": [None] * 3}
    assert point["figures"]["eval_f1"] == nothing
    assert not (tmp_path / "sweep.png").exists()


def test_every_point_is_trained_with_every_seed_and_the_best_comes_first(tmp_path):
    training = Training()
    found = run(training, tmp_path, ("long", 1, 22), seeds=[0, 2])
    assert names(training, tmp_path) == [
        f"rate={rate}/seed-{seed}" for rate in ("long", 1, 22) for seed in (0, 2)
    ]
    assert [row.values["x.rate"] for row in found.rows] == [1, 22, "long"]
    assert found.best == "rate=1/seed-2"
    assert summary(tmp_path)["points"][0]["values"] == {"x.rate": 1}


@pytest.mark.parametrize(
    ("checkpoint", "order", "chosen"),
    [
        ({"metric": "accuracy"}, [1, 22, "long"], "eval_accuracy"),
        ({"metric": "loss"}, [1, 22, "long"], "eval_loss"),
        ({}, [1, 22, "long"], "eval_loss"),
        ({"metric": "loss", "mode": "max"}, ["long", 22, 1], "eval_loss"),
        ({"metric": "accuracy", "mode": "min"}, ["long", 22, 1], "eval_accuracy"),
    ],
)
def test_less_of_a_loss_is_better_and_more_of_other_metrics(tmp_path, checkpoint, order, chosen):
    rates = ("long", 1, 22)
    found = run(Training(), tmp_path, rates, checkpoint=CheckpointConfig(**checkpoint))
    assert found.choice.name == chosen
    assert [row.values["x.rate"] for row in found.rows] == order
    assert found.best == f"rate={order[0]}"


def test_without_a_figure_that_chooses_seeds_are_trained_and_a_grid_is_not(tmp_path):
    given = {"checkpoint": CheckpointConfig(), "validation_names": ("a", "b")}
    assert run(Training(), tmp_path / "seeds", seeds=[0, 1], **given).best is None
    training = Training()
    with pytest.raises(UserError, match="which run is the best is said by the metric"):
        run(training, tmp_path / "grid", (1, 2), **given)
    assert not training.calls
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize("other", [{"metric": "loss"}, {"metric": "accuracy", "mode": "min"}, {}])
def test_what_chooses_is_one_for_all(other, tmp_path):
    """Also where a whole section is swept."""
    training = Training()
    points = [
        Point({"checkpoint": place}, Config(checkpoint=checkpoint))
        for place, checkpoint in enumerate((ACCURACY, CheckpointConfig(**other)))
    ]
    with pytest.raises(UserError, match="would each choose another best run"):
        sweep(training, points, tmp_path, quiet=True)
    assert not training.calls


def test_what_not_all_seeds_have_is_left_out(tmp_path):
    [row] = run(Training(), tmp_path, seeds=[1, 0]).rows
    assert set(row.figures) == {"eval_accuracy", "eval_loss", "step"}


def test_a_preemption_ends_them_all_and_the_next_command_trains_what_is_left(tmp_path):
    training = Training(preempted_at=2)
    assert run(training, tmp_path, (1, 2, 3)) is None
    assert names(training, tmp_path) == ["rate=1", "rate=2"]
    assert [*summary(tmp_path)["runs"]] == ["rate=1"]
    training = Training()
    assert run(training, tmp_path, (1, 2, 3, 4)).best == "rate=1"
    assert names(training, tmp_path) == ["rate=2", "rate=3", "rate=4"]
    training = Training()
    assert len(run(training, tmp_path, (5, 4, 3, 2, 1)).rows) == 5
    assert names(training, tmp_path) == ["rate=5"]


def test_a_signal_between_two_runs_begins_no_other(tmp_path):
    training = Training()
    points = [Point({"rate": rate}, Config(rate)) for rate in (1, 2)]
    assert sweep(training, points, tmp_path, interrupted=lambda: True, quiet=True) is None
    assert not training.calls


def test_a_run_that_was_deleted_or_is_another_is_trained_again(tmp_path):
    run(Training(), tmp_path, (1, 2, 3))
    (tmp_path / "rate=2" / "all_results.json").unlink()
    training = Training()
    run(training, tmp_path, (1, 2, 3))
    assert names(training, tmp_path) == ["rate=2"]
    # `train` refuses such a configuration where it may not change.
    training = Training()
    run(training, tmp_path, (1, 2, 3), checkpoint=CheckpointConfig(metric="loss"))
    assert len(training.calls) == 3


def test_a_run_that_diverges_is_the_last_and_the_others_go_on(tmp_path, capsys):
    said: list[str] = []
    points = [Point({"rate": rate}, Config(rate)) for rate in (1, 3, 2)]
    options = {"seeds": [0, 1], "say": said.append, "quiet": True}
    found = sweep(Training(diverges_at=1), points, tmp_path, **options)
    assert [row.values["rate"] for row in found.rows] == [3, 2, 1]
    assert "rate=1/seed-0 counts as nan: loss nan" in said
    assert summary(tmp_path)["runs"]["rate=1/seed-0"]["outcome"] == "diverged"
    training = Training()
    assert sweep(training, points, tmp_path, **options).best == "rate=3/seed-1"
    assert not training.calls
    print_outcome("t", found)
    assert len(capsys.readouterr().out.splitlines()) == 8
    found = run(Training(diverges_at=1.0), tmp_path / "all", seeds=[0])
    assert found.best is None
    # All processes end with one status.
    for is_first in (True, False):
        with pytest.raises(UserError, match="every run diverged"):
            report("runs/all", found, is_first=is_first)


def test_of_points_that_all_have_a_run_that_diverged_the_best_run_is_named():
    choice = Choice("f", "max")
    values = ((math.nan, 0.2), (0.3, math.nan), (0.1, math.nan))
    rows = [
        Row({"x": n}, (f"{n}/0", f"{n}/1"), (0, 1), {"f": Figure(pair)})
        for n, pair in enumerate(values)
    ]
    assert outcome_of(rows, choice).best == "1/0"


def test_all_that_is_left_is_checked_before_the_first_run(tmp_path):
    def check(left, ended) -> None:
        assert [path.name for _, path in left] == ["rate=2", "rate=3"]
        assert [(config.rate, path.name) for config, path in ended] == [(1, "rate=1")]
        raise UserError("rate=3 is too much")

    run(Training(), tmp_path, (1,))
    training = Training()
    points = [Point({"rate": rate}, Config(rate)) for rate in (1, 2, 3)]
    with pytest.raises(UserError, match="too much"):
        sweep(training, points, tmp_path, check=check, quiet=True)
    assert not training.calls


def test_runs_of_pretraining_are_checked_too(store, tmp_path):
    runs = [(pretraining(store, f"batch_size={size}"), tmp_path / str(size)) for size in (8, 12)]
    with pytest.raises(UserError, match="batch_size=12 is not a multiple"):
        check_pretraining(runs)
    check_pretraining(runs[:1])
    (tmp_path / "ended" / "checkpoints" / "3").mkdir(parents=True)
    [(config, _), _] = runs
    known = data_fingerprints(open_stores(config.store), {}, config.data)
    ended = [(pretraining(store, "optimizer.learning_rate=1"), tmp_path / "ended")]
    (tmp_path / "ended" / "data.json").write_text(json.dumps(known))
    check_pretraining(runs[:1], ended)
    (tmp_path / "ended" / "data.json").write_text(json.dumps(dict.fromkeys(known, "other")))
    with pytest.raises(UserError, match="is not what the run had, and what is compared"):
        check_pretraining(runs[:1], ended)


def test_a_single_seed_has_no_deviation(capsys):
    assert Figure((0.5,)).deviation is None
    print_spread("runs/a", [7], {"eval_accuracy": Figure((0.5,))})
    assert "seed 7" in capsys.readouterr().out


def test_figures_of_other_runs_and_single_runs_are_not_overwritten(tmp_path):
    run(Training(), tmp_path, seeds=range(2))
    written = (tmp_path / "sweep.json").read_text()
    for fewer in (range(1), range(1, 4)):
        with pytest.raises(UserError, match=r"sweep.json has the figures of seed-[01], which"):
            run(Training(), tmp_path, seeds=fewer)
    with pytest.raises(UserError, match="has the figures of seed-0"):
        run(Training(), tmp_path, (1, 2), seeds=range(2))
    assert (tmp_path / "sweep.json").read_text() == written
    assert run(Training(), tmp_path, seeds=range(3))
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UserError, match=r"sweep.json: not valid JSON"):
        run(Training(), tmp_path, seeds=range(3))
    (tmp_path / "run" / "rate=2").mkdir(parents=True)
    for place in (tmp_path / "run" / "rate=2", tmp_path / "run"):
        (place / "config.yaml").touch()
        with pytest.raises(UserError, match=f"/{place.name} is a single run: give another --run"):
            run(Training(), tmp_path / "run", (1, 2), seeds=range(2))


def test_where_one_run_is_wanted_the_best_is_named(tmp_path, capsys):
    check_is_one_run(tmp_path)
    run(Training(), tmp_path / "grid", (22, 1))
    best = r"grid holds several runs: name one, such as the best, .*grid/rate=1$"
    for refuse in (check_is_one_run, ready, find_model):
        with pytest.raises(UserError, match=best):
            refuse(tmp_path / "grid")
    check_is_one_run(tmp_path / "grid" / "rate=1")
    for words in (["goodput"], ["convert", "--step", "latest"], ["convert"], ["evaluate"]):
        others = {"convert": [str(tmp_path / "out")], "evaluate": ["--data", "x"]}
        given = [words[0], str(tmp_path / "grid"), *others.get(words[0], []), *words[1:]]
        assert main(given) == 2
        assert "holds several runs: name one, such as the best" in capsys.readouterr().err
    assert run(Training(preempted_at=1), tmp_path / "begun", (1, 2)) is None
    with pytest.raises(UserError, match="begun holds several runs, and no best one is known"):
        check_is_one_run(tmp_path / "begun")


def test_the_picture_shows_numbers_in_their_places_and_words_beside_each_other(tmp_path):
    figures = {}
    for rates in ((3e-5, 1e-5, 3e-4), (8, 16, 32), ("$x", "\udce4", None)):
        found = run(Training(diverges_at=8), tmp_path / str(rates[0]), rates, seeds=[0, 1])
        [figures[rates[0]]] = picture_of(found).axes
    draw_sweep(found, tmp_path / "sweep.png")
    assert matplotlib.image.imread(tmp_path / "sweep.png").std() > 0.01
    logarithmic, linear, words = figures.values()
    assert [axes.get_xscale() for axes in figures.values()] == ["log", "linear", "linear"]
    assert logarithmic.get_xticks().tolist() == [1e-5, 3e-5, 3e-4]
    assert [text.get_text() for text in linear.get_xticklabels()] == ["8", "16", "32"]
    assert sorted(words.get_xticks()) == [0, 1, 2]
    marks = [line for line in linear.lines if line.get_label().startswith("seed")]
    # What diverged has no mark.
    assert [sorted(line.get_xdata()) for line in marks] == [[16, 32], [16, 32]]
