"""Models and tokenizers at a URL, in fsspec's own file system in memory."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from jaxbert.cli import main
from jaxbert.cli.output import out_file
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.errors import UserError
from jaxbert.experiment.run_directory import check_run
from jaxbert.hub.replace import whole_directory
from jaxbert.text import remote
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece

URL = "memory://bucket/models/first"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.pipe(
        {
            f"{URL}/config.json": b"{}",
            f"{URL}/params/d/0": b"deep",
            f"{URL}/pytorch_model.bin": b"unwanted",
        }
    )
    yield system
    system.rm("bucket", recursive=True)


def contents(directory: Path) -> dict[str, bytes]:
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {file.relative_to(directory).as_posix(): file.read_bytes() for file in files}


def test_only_what_is_wanted_is_fetched(bucket: fsspec.AbstractFileSystem):
    fetched = contents(remote.fetch(URL, ["config.json", "params/*", "*.safetensors"]))
    assert fetched == {"config.json": b"{}", "params/d/0": b"deep"}


@pytest.mark.parametrize("name", ["params/../../../evil", "params/..", "/etc/evil", ""])
def test_names_that_lead_out_of_a_directory_are_refused(name: str):
    with pytest.raises(UserError, match="which leads out of it"):
        remote.check_stays_inside(["config.json", name], URL)
    remote.check_stays_inside(["params/d/0", "a..b", ".hidden"], URL)


def test_a_bucket_cannot_write_outside_of_the_cache(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = bucket.find("bucket/models/first")
    evil = [*found, "/bucket/models/first/params/../../../../evil"]
    message = r"called 'params/\.\./\.\./\.\./\.\./evil', which leads out"
    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "find", lambda *_, **__: evil)
        with pytest.raises(UserError, match=message):
            remote.fetch(URL, ["config.json", "params/*"])
    assert not (tmp_path / "cache").exists()


def test_what_is_here_already_is_not_fetched_again(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
):
    first = remote.fetch(URL, ["config.json"])
    monkeypatch.setattr(type(bucket), "get_file", None)
    assert remote.fetch(URL, ["config.json"]) == first


def test_a_changed_file_is_fetched_again(bucket: fsspec.AbstractFileSystem):
    first = remote.fetch(URL, ["config.json"])
    bucket.pipe(f"{URL}/config.json", b"other")
    assert contents(remote.fetch(URL, ["config.json"])) == {"config.json": b"other"}
    assert contents(first) == {"config.json": b"{}"}


def test_an_interrupted_download_leaves_nothing(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def fail(*_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(bucket), "get_file", fail)
    with pytest.raises(KeyboardInterrupt):
        remote.fetch(URL, ["config.json"])
    assert not contents(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "jaxbert" / "fetched").iterdir())


def test_a_tokenizer_is_loaded_from_a_url(bucket: fsspec.AbstractFileSystem, tmp_path: Path):
    tokenizer = train_wordpiece(["the small dog saw the other small dog run"] * 3, 60)
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    bucket.put(str(tmp_path / "tokenizer"), "bucket/tokenizer", recursive=True)
    assert load_tokenizer("memory://bucket/tokenizer").vocab() == tokenizer.vocab()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/none", "holds none of the files wanted here, such as config.json"),
        ("nowhere://bucket/x", "cannot be read: Protocol not known: nowhere"),
    ],
)
def test_a_url_that_cannot_be_read_is_one_line(
    bucket: fsspec.AbstractFileSystem, url: str, message: str
):
    with pytest.raises(UserError, match=message) as raised:
        remote.fetch(url, ["config.json"])
    assert "\n" not in str(raised.value)
    assert raised.value.status == 2


def test_a_bucket_that_does_not_answer_may_do_so_later(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
):
    def find(*_: object) -> None:
        raise error

    for error, status in ((OSError("timed out"), 1), (PermissionError("not yours"), 2)):
        with monkeypatch.context() as patch:
            patch.setattr(type(bucket), "find", find)
            with pytest.raises(UserError, match=f"{URL} cannot be read: {error}") as raised:
                remote.fetch(URL, ["config.json"])
        assert raised.value.status == status


def test_a_hub_that_does_not_answer_may_do_so_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def snapshot_download(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("no network, and nothing in the cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    for is_offline, status in ((False, 1), (True, 2)):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)
        assert main(["inspect-tokenizer", "nobody/no-such-model", "a.txt"]) == status
        assert "the Hub cannot be reached" in capsys.readouterr().err


def test_a_bucket_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"gs://bucket/x needs gcsfs: pip install 'jaxbert\[gcs\]'"):
        remote.fetch("gs://bucket/x", ["config.json"])


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("gcsfs.retry", "HttpError"),
        ("gcsfs.retry", "ChecksumError"),
        ("aiohttp.client_exceptions", "ClientError"),
    ],
)
def test_refusals_that_are_no_os_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str
):
    errors = {error: type(error, (Exception,), {}) for error in remote.ERRORS[module]}

    def refuse(url: str) -> None:
        raise errors[name]("Anonymous caller does not have access,\n 401")

    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**errors))
    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(UserError, match=r"access, 401; if it is private.*gcloud auth"):
        remote.fetch("gs://bucket/x", ["config.json"])


def test_a_url_is_no_place_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("A sentence. Another one.\n")
    for out in ("gs://bucket/store", Path("gs://bucket/store")):
        with pytest.raises(UserError, match=r"^gs:/+bucket/store: a URL, where only a path"):
            prepare(["a.txt"], out, PrepareOptions(vocab_size=50))
        with (
            pytest.raises(UserError, match=r"^gs:/+bucket/store: a URL, where only a path"),
            whole_directory(out),
        ):
            pass
        with pytest.raises(UserError, match=r"^gs:/+bucket/store: a URL, where only a path"):
            check_run(out, {})
    with pytest.raises(UserError, match=r"^s3://results\.jsonl: a URL, where only a path"):
        out_file("s3://results.jsonl", "-")
    remote.check_is_here(tmp_path / "store")
    remote.check_is_here("c:/store")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
