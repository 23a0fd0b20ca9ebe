"""Several seeds of one configuration, with a training that only counts."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from jaxbert.cli import main
from jaxbert.cli.figures import print_spread
from jaxbert.errors import UserError
from jaxbert.experiment.fit import Fitted
from jaxbert.experiment.inference import ready
from jaxbert.experiment.seeds import check_is_one_run, train_seeds
from jaxbert.experiment.spread import Figure


@dataclass(frozen=True)
class Config:
    seed: int = 0


class Training:
    """Gives an accuracy that depends on the seed; is preempted at a seed of its choice."""

    def __init__(self, preempted_at: int | None = None):
        self.calls: list[tuple[int, Path]] = []
        self.preempted_at = preempted_at

    def __call__(self, config: Config, path: Path, *, quiet: bool) -> Fitted:
        assert quiet
        self.calls.append((config.seed, path))
        if config.seed == self.preempted_at:
            return Fitted(None, "preempted", 1, {}, {})
        results = {"eval_accuracy": 0.5 + config.seed**2 / 100, "step": 3.0}
        return Fitted(
            {}, "finished", 3, results | ({"eval_f1": math.nan} if config.seed else {}), {}
        )


def test_every_seed_is_a_run_and_their_figures_are_summed_up(tmp_path):
    training = Training()
    found = train_seeds(training, Config(), tmp_path, range(1, 4), quiet=True)
    assert training.calls == [(seed, tmp_path / f"seed-{seed}") for seed in (1, 2, 3)]
    accuracies = [0.51, 0.54, 0.59]
    assert found["eval_accuracy"].values == pytest.approx(accuracies)
    assert found["eval_accuracy"].mean == pytest.approx(np.mean(accuracies))
    assert found["eval_accuracy"].deviation == pytest.approx(np.std(accuracies, ddof=1))
    written = json.loads((tmp_path / "seeds.json").read_text())
    assert written["seeds"] == [1, 2, 3]
    assert written["eval_accuracy"]["mean"] == found["eval_accuracy"].mean
    assert written["eval_f1"] == {"mean": None, "deviation": None, "values": [None] * 3}


def test_what_not_all_seeds_have_is_left_out(tmp_path):
    found = train_seeds(Training(), Config(), tmp_path, [1, 0], quiet=True)
    assert set(found) == {"eval_accuracy", "step"}


def test_a_preemption_ends_them_all_and_writes_nothing(tmp_path):
    training = Training(preempted_at=1)
    assert train_seeds(training, Config(), tmp_path, range(3), quiet=True) is None
    assert [seed for seed, _ in training.calls] == [0, 1]
    assert not (tmp_path / "seeds.json").exists()


def test_a_single_seed_has_no_deviation(capsys):
    assert Figure((0.5,)).deviation is None
    print_spread("runs/a", [7], {"eval_accuracy": Figure((0.5,))})
    assert "seed 7" in capsys.readouterr().out


def test_figures_of_other_seeds_and_single_runs_are_not_overwritten(tmp_path):
    train_seeds(Training(), Config(), tmp_path, range(2), quiet=True)
    written = (tmp_path / "seeds.json").read_text()
    for fewer in (range(1), range(1, 4)):
        with pytest.raises(UserError, match=r"seeds.json has the figures of seed [01], which"):
            train_seeds(Training(), Config(), tmp_path, fewer, quiet=True)
    assert (tmp_path / "seeds.json").read_text() == written
    assert train_seeds(Training(), Config(), tmp_path, range(3), quiet=True)
    (tmp_path / "seeds.json").write_text("{")
    with pytest.raises(UserError, match=r"seeds.json: not valid JSON"):
        train_seeds(Training(), Config(), tmp_path, range(3), quiet=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(UserError, match="run is a single run: give another --run directory"):
        train_seeds(Training(), Config(), tmp_path / "run", range(2), quiet=True)


def test_where_one_run_is_wanted_those_of_several_seeds_are_named(tmp_path, capsys):
    check_is_one_run(tmp_path)
    (tmp_path / "seed-3").mkdir()
    (tmp_path / "seed-3" / "config.yaml").touch()
    with pytest.raises(UserError, match=r"runs of several seeds: name one, .*/seed-3$"):
        check_is_one_run(tmp_path)
    with pytest.raises(UserError, match="several seeds"):
        ready(tmp_path)
    assert main(["goodput", str(tmp_path)]) == 2
    assert "runs of several seeds: name one" in capsys.readouterr().err
