from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import transformers
from torch_models import Saved, make_torch_model

from jaxbert.hub.load import from_pretrained
from jaxbert.nn.model import Model


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Saved]:
    """A random PyTorch model of a class and the directory that transformers saved it to."""
    transformers.utils.logging.disable_progress_bar()

    @cache
    def save(architecture: str, layers: int = 2) -> Saved:
        directory = tmp_path_factory.mktemp(architecture)
        model = make_torch_model(architecture, num_hidden_layers=layers)
        model.save_pretrained(directory)
        return Saved(model, directory)

    return save


@pytest.fixture(scope="session")
def opened(saved: Callable[..., Saved]) -> Callable[..., Model]:
    """The same model, loaded by us."""

    @cache
    def load(architecture: str, layers: int = 2) -> Model:
        return from_pretrained(saved(architecture, layers).directory)

    return load


@pytest.fixture
def copy_of(saved: Callable[..., Saved], tmp_path: Path) -> Callable[[str], Path]:
    """A private copy of a saved directory, to damage."""

    def copy(architecture: str) -> Path:
        directory = tmp_path / architecture
        directory.mkdir()
        for file in saved(architecture).directory.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        return directory

    return copy
