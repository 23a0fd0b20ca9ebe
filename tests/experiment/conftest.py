from pathlib import Path

import jax
import pytest
from experiment.small_runs import make_store, pretraining, write_labelled

from jaxbert.experiment.pretrain import pretrain


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory):
    """The same program is compiled once for all runs of these tests."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


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
