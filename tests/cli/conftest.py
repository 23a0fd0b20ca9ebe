import os
from pathlib import Path

import pytest
import quick_programs
import yaml
from cli.commands import Command
from experiment.small_runs import MODEL, write_corpus

from jaxbert.cli import main


@pytest.fixture(scope="session")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining configuration and the store that it is for."""
    directory = tmp_path_factory.mktemp("configuration")
    corpus, store = write_corpus(directory / "corpus.txt"), directory / "store"
    words = ["prepare", str(corpus), "--out", str(store), "--vocab-size", "160"]
    assert main([*words, "--processes", "1"]) == 0
    values = {
        "store": str(store),
        "model": MODEL,
        "num_steps": 40,
        "batch_size": 8,
        "data": {
            "max_seq_length": 32,
            "validation_fraction": 0.3,
        },
        "loop": {"log_every": 1, "evaluate_every": 10, "checkpoint_every": 8},
    }
    path = directory / "pretrain.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def command(configuration: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """`jaxbert pretrain CONFIG optimizer.learning_rate=3e-3 --run ...` in a process of its own."""
    environment = os.environ | {
        # One device: these runs are compared with each other alone.
        **quick_programs.ENVIRONMENT,
        # Apart, for some of them are killed.
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    words = ("pretrain", str(configuration), "optimizer.learning_rate=3e-3")
    return Command(words, environment)


@pytest.fixture(scope="session")
def pretrained(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a whole pretraining run from the command line."""
    run = tmp_path_factory.mktemp("pretrained") / "run"
    process = command.start(run)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    (run.parent / "stdout").write_text(out, encoding="utf-8")
    return run
