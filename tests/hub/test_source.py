from pathlib import Path

import huggingface_hub.constants
import pytest

from jaxbert.errors import UserError
from jaxbert.hub.source import Source, find_model


@pytest.fixture
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache that holds one repository, and no network."""
    repository = tmp_path / "models--someone--model"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return snapshot


def test_a_cached_hub_model_is_found_offline(offline_cache: Path):
    assert find_model("someone/model") == Source(offline_cache)


def test_a_hub_model_that_is_not_cached_is_explained(offline_cache: Path):
    with pytest.raises(UserError, match=r"'someone/other'.*not in the Hugging Face cache"):
        find_model("someone/other")


def test_a_revision_that_is_not_cached_is_explained(offline_cache: Path):
    with pytest.raises(UserError, match="'someone/model' at revision 'v9'"):
        find_model("someone/model", revision="v9")


def test_a_name_that_no_hub_model_can_have_is_refused():
    with pytest.raises(UserError, match="neither a directory here nor a valid hub id"):
        find_model("bad name!!")


@pytest.mark.parametrize("name", ["./missing", "/no/such/place", "a/b/c"])
def test_a_missing_directory_is_not_looked_for_on_the_hub(name: str):
    with pytest.raises(UserError, match="no such directory"):
        find_model(name)


def test_a_run_directory_stands_for_its_model(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert find_model(tmp_path) == Source(tmp_path / "model")


def test_a_directory_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        find_model(tmp_path)


def test_a_revision_of_a_directory_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="is no hub id: leave out revision='main'"):
        find_model(tmp_path, revision="main")


def test_a_file_is_refused(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(UserError, match="is a file"):
        find_model(file)
