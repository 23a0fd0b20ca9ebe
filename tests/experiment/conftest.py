from pathlib import Path

import pytest
from experiment.small_runs import make_store, pretraining, write_labelled

from jaxbert.experiment import artifacts, sweep
from jaxbert.experiment.pretrain import pretrain


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes half a second a run; `cli/test_runs.py` looks at a picture."""
    monkeypatch.setattr(artifacts, "draw_losses", lambda run: run.loss_curve.touch())
    monkeypatch.setattr(sweep, "draw_sweep", lambda outcome, path: path.touch())


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """A whole, uninterrupted pretraining run."""
    run = tmp_path_factory.mktemp("pretrained") / "run"
    pretrain(pretraining(store), run, quiet=True)
    return run


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """60 rows to train on and 13 to evaluate on."""
    directory = tmp_path_factory.mktemp("tables")
    return (
        write_labelled(directory / "train.tsv", 60, seed=1),
        write_labelled(directory / "dev.tsv", 13, seed=2),
    )
