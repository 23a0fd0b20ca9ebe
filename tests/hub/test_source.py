import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import huggingface_hub.constants
import pytest

import jaxbert.hub.source
from jaxbert.errors import UserError
from jaxbert.experiment.inference import ready
from jaxbert.hub.load import load_params
from jaxbert.hub.source import Source, find_model
from jaxbert.nn.model import Model

CHECKPOINT = Path(__file__).parent / "tensorflow_checkpoint"


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


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(UserError, match="no file can have that name"):
        find_model("x" * 300)


@pytest.mark.parametrize("open_it", [find_model, load_params, ready])
def test_what_names_no_place_is_refused(open_it: Any):
    with pytest.raises(UserError, match=r"^expected a directory, .*found Model: .* is saved first"):
        open_it(Model.__new__(Model))


def test_a_cached_hub_model_is_found_offline(offline_cache: Path):
    assert find_model("someone/model") == Source(offline_cache)


def test_a_cache_from_before_a_small_file_was_asked_for_still_opens_offline(
    offline_cache: Path, caplog: pytest.LogCaptureFixture
):
    trees = offline_cache.parents[1] / "trees"
    trees.mkdir()
    names = ["config.json", "README.md", "sentence_bert_config.json"]
    listed = {"format_version": 1, "files": {n: {"size": 2, "blob_id": "b"} for n in names}}
    (trees / f"{offline_cache.name}.json").write_text(json.dumps(listed))
    assert find_model("someone/model") == Source(offline_cache)
    assert "may lack some of" in caplog.text
    (offline_cache / "config.json").unlink()
    with pytest.raises(UserError, match="run this once with a network"):
        find_model("someone/model")


def test_a_hub_model_that_is_not_cached_is_explained(offline_cache: Path):
    with pytest.raises(UserError, match=r"'someone/other'.*not .* in the Hugging Face cache"):
        find_model("someone/other")


def test_a_revision_that_is_not_cached_is_explained(offline_cache: Path):
    with pytest.raises(UserError, match="'someone/model' at revision 'v9'"):
        find_model("someone/model", revision="v9")


def test_the_best_format_of_a_hub_model_is_the_only_one_fetched(
    offline_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[list[str]] = []

    def download(name: str, wanted: list[str], *, optional: Any, revision: str | None) -> Path:
        asked.append(wanted)
        return offline_cache

    monkeypatch.setattr(jaxbert.hub.source, "download", download)
    (offline_cache / "pytorch_model-00001-of-00002.bin").touch()
    find_model("someone/model")
    weights = ("model.safetensors", "flax_model.msgpack", "pytorch_model.bin", "*.ckpt*.index")
    found = [[name for name in weights if name in wanted] for wanted in asked]
    assert found == [["model.safetensors"], ["flax_model.msgpack"], ["pytorch_model.bin"]]
    assert all("config.json" in wanted for wanted in asked)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bucket that holds a checkpoint of TensorFlow's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.put(f"{CHECKPOINT}/", "bucket/uncased/", recursive=True)
    yield system
    system.rm("bucket", recursive=True)


@pytest.mark.parametrize("url", ["memory://bucket/uncased", "memory://bucket/uncased/"])
def test_a_model_is_opened_from_a_url(bucket: Path, url: str):
    source = find_model(url)
    assert source.checkpoint is None
    assert sorted(file.name for file in source.directory.iterdir()) == [
        "README.md",
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00003",
        "bert_model.ckpt.data-00001-of-00003",
        "bert_model.ckpt.data-00002-of-00003",
        "bert_model.ckpt.index",
    ]
    assert load_params(url).fresh == ()


def test_a_checkpoint_may_be_named_by_its_url(bucket: Path):
    source = find_model("memory://bucket/uncased/bert_model.ckpt")
    assert source.checkpoint == "bert_model.ckpt"
    assert load_params("memory://bucket/uncased/bert_model.ckpt").head.kind == "pretraining"


def test_a_url_without_a_model_is_refused(bucket: Path):
    with pytest.raises(UserError, match=r"memory://bucket/none holds none of the files wanted"):
        find_model("memory://bucket/none")


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


def test_a_run_that_has_only_checkpoints_is_told_how_to_make_a_model(tmp_path: Path):
    (tmp_path / "checkpoints" / "notes").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds no config\.json"):
        find_model(tmp_path)
    (tmp_path / "checkpoints" / "500").mkdir()
    with pytest.raises(UserError, match=rf"`jaxbert convert {tmp_path} DEST --step latest`"):
        find_model(tmp_path)


def test_a_revision_of_a_directory_is_refused(tmp_path: Path):
    for place in (tmp_path, "gs://bucket/model"):
        with pytest.raises(UserError, match="is no hub id: leave out revision='main'"):
            find_model(place, revision="main")


def test_a_file_is_refused(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(UserError, match="is a file"):
        find_model(file)
