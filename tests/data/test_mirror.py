"""Stores at a URL, in fsspec's own file system in memory."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest

from jaxbert.data.store import TokenStore
from jaxbert.data.writer import StoreWriter
from jaxbert.errors import UserError

URL = "memory://bucket/stores/first"


@pytest.fixture
def local(tmp_path):
    with StoreWriter(tmp_path / "s", vocab_size=100, shard_tokens=50) as writer:
        (writer.directory / "tokenizer").mkdir()
        (writer.directory / "tokenizer/vocab.txt").write_text("a b c")
        for start in range(10):
            writer.append([[list(range(start, start + 20))]])
        writer.finish()
    return TokenStore.open(tmp_path / "s")


@pytest.fixture
def bucket(tmp_path, local, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.put(str(local.path), "/bucket/stores/first", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


@pytest.fixture
def fetched(bucket, monkeypatch):
    """Paths of the files that are fetched, in any order."""
    paths = []
    get_file = type(bucket).get_file

    def note(self, path, *arguments):
        paths.append(path.partition("/stores/first/")[2])
        get_file(self, path, *arguments)

    monkeypatch.setattr(type(bucket), "get_file", note)
    return paths


def test_a_store_at_a_url_is_that_store(local, bucket):
    store = TokenStore.open(URL)
    assert store.fingerprint == local.fingerprint
    assert len(store.shards) == 4
    starts = np.arange(0, 200, 20)
    np.testing.assert_array_equal(store.read(starts, [20] * 10), local.read(starts, [20] * 10))


def test_only_what_is_not_here_is_fetched(bucket, fetched):
    store = TokenStore.open(URL)
    assert len(fetched) == len(set(fetched)) == 4 * 5 + 1
    fetched.clear()
    assert TokenStore.open(URL + "/").path == store.path
    assert fetched == []
    (store.path / "shards/00002/tokens.bin").unlink()
    (store.path / "shards/00001/tokens.bin").write_bytes(b"half")
    TokenStore.open(URL)
    assert sorted(fetched) == ["shards/00001/tokens.bin", "shards/00002/tokens.bin"]


def test_an_interrupted_fetch_goes_on(bucket, fetched, monkeypatch, tmp_path):
    get_file = type(bucket).get_file

    def fail(self, path, *arguments):
        if "00003" in path:
            raise KeyboardInterrupt
        get_file(self, path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "get_file", fail)
        with pytest.raises(KeyboardInterrupt):
            TokenStore.open(URL)
    assert not list((tmp_path / "cache").rglob("store.json"))
    assert not list((tmp_path / "cache").rglob("*.part"))
    before = set(fetched)
    fetched.clear()
    TokenStore.open(URL)
    assert {"00003" in path for path in fetched} == {True}
    assert len(before | set(fetched)) == 21


def test_what_others_may_be_reading_is_replaced_and_only_where_it_differs(bucket, tmp_path):
    metadata = TokenStore.open(URL).path / "store.json"
    before = metadata.stat()
    TokenStore.open(URL)
    assert metadata.stat().st_mtime_ns == before.st_mtime_ns
    whole = metadata.read_bytes()
    metadata.write_text("{")
    (tmp_path / "opened").hardlink_to(metadata)
    TokenStore.open(URL)
    assert metadata.read_bytes() == whole
    assert (tmp_path / "opened").read_text() == "{"


def test_what_another_process_has_fetched_by_half_is_no_part_of_the_store(bucket, monkeypatch):
    places = []
    get_file = type(bucket).get_file

    def note(self, path, local, *arguments):
        places.append(Path(local))
        get_file(self, path, local, *arguments)

    monkeypatch.setattr(type(bucket), "get_file", note)
    first = TokenStore.open(URL)
    for place in places:
        place.write_text("half")
    assert TokenStore.open(URL).fingerprint == first.fingerprint


def test_another_store_at_the_same_url_is_another_directory(bucket, tmp_path):
    first = TokenStore.open(URL)
    with StoreWriter(tmp_path / "other", vocab_size=100) as writer:
        writer.append([[[1]]])
        writer.finish()
    bucket.rm("/bucket/stores/first", recursive=True)
    bucket.put(str(tmp_path / "other"), "/bucket/stores/first", recursive=True)
    assert TokenStore.open(URL).num_tokens == 1
    assert TokenStore.open(first.path).num_tokens == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda system: system.rm("/bucket/stores/first/store.json"), "no token store is there"),
        (
            lambda system: system.pipe("/bucket/stores/first/store.json", b"{"),
            "first/store.json: not valid JSON",
        ),
        (
            lambda system: system.pipe("/bucket/stores/first/shards/00000/tokens.bin", b"1"),
            "shards/00000/tokens.bin: the store is damaged: the file has 1 bytes, expected 120",
        ),
        (
            lambda system: system.rm("/bucket/stores/first/shards/00000/tokens.bin"),
            "shards/00000/tokens.bin: the store is damaged: the file is missing",
        ),
    ],
)
def test_what_is_wrong_at_a_url_is_said(bucket, change, message):
    change(bucket)
    with pytest.raises(UserError, match=message):
        TokenStore.open(URL)


def test_a_url_without_anything_is_said(bucket):
    with pytest.raises(UserError, match="memory://bucket/none: no token store is there"):
        TokenStore.open("memory://bucket/none")


def test_a_list_of_files_cannot_lead_out_of_the_cache(bucket, tmp_path):
    metadata = json.loads(bucket.cat_file(f"{URL}/store.json"))
    metadata["files"]["../../../evil"] = 4
    bucket.pipe(f"{URL}/store.json", json.dumps(metadata).encode())
    with pytest.raises(UserError, match=r"called '\.\./\.\./\.\./evil', which leads out"):
        TokenStore.open(URL)
    assert not (tmp_path / "cache").exists()
