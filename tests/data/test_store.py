import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from jaxbert.data.partial import PartialStore
from jaxbert.data.store import TokenStore
from jaxbert.data.writer import StoreWriter
from jaxbert.errors import UserError

DOCUMENTS = [[[1, 2], [3]], [[4, 5, 6]], [[7], [8, 9], [10]]]

HOLD = """
import sys, time
from jaxbert.data.writer import StoreWriter
with StoreWriter(sys.argv[1], vocab_size=100) as writer:
    writer.append([[[1, 2]]])
    print("writing", flush=True)
    time.sleep(60)
"""


def write(path, documents=DOCUMENTS, vocab_size=100, **options):
    with StoreWriter(path, vocab_size=vocab_size, **options) as writer:
        writer.append(documents)
        writer.finish()
    return TokenStore.open(path)


def held_by_another_process(path):
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    return child


def end(child):
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_a_store_gives_back_what_was_written(tmp_path):
    store = write(tmp_path / "s")
    assert (store.num_documents, store.num_sentences, store.num_tokens) == (3, 6, 10)
    assert [[s.tolist() for s in store.document(i)] for i in range(3)] == DOCUMENTS
    assert store.sentence(4).tolist() == [8, 9]
    (shard,) = store.shards
    assert shard.sentence_offsets.tolist() == [0, 2, 3, 6, 7, 9, 10]
    assert shard.document_offsets.tolist() == [0, 2, 3, 6]
    assert shard.sentence_offsets.dtype == shard.document_offsets.dtype == np.uint32


def test_a_document_has_the_same_digest_in_every_store(tmp_path):
    digests = write(tmp_path / "s").document_digests()
    assert len(set(digests.tolist())) == len(DOCUMENTS)
    # Other neighbours, other sentences of the same ids, another dtype, several shards.
    joined = [[[2, 1]], [[4], [5, 6]], [[1, 2, 3]], [[7, 8], [9, 10]]]
    other = write(tmp_path / "other", joined, vocab_size=2**17, shard_tokens=3)
    assert other.document_digests().tolist()[1:] == digests[[1, 0, 2]].tolist()
    assert other.document_digests()[0] not in digests


@pytest.mark.parametrize("index", [-1, 6])
def test_a_sentence_outside_the_store_is_an_index_error(tmp_path, index):
    with pytest.raises(IndexError, match="outside 0 to 5"):
        write(tmp_path / "s").sentence(index)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32), (300_000, np.uint32)]
)
def test_tokens_take_two_bytes_where_the_vocabulary_allows(tmp_path, vocab_size, dtype):
    store = write(tmp_path / "s", [[[vocab_size - 1]]], vocab_size)
    tokens = store.read([0], [1])
    assert store.dtype == tokens.dtype == dtype
    assert tokens.tolist() == [vocab_size - 1]


def test_arrays_are_memory_mapped_read_only(tmp_path):
    (shard,) = write(tmp_path / "s").shards
    for array in (shard.unchecked_tokens, shard.sentence_offsets, shard.document_offsets):
        assert isinstance(array.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


def test_appending_in_parts_gives_the_same_files(tmp_path):
    write(tmp_path / "whole")
    with StoreWriter(tmp_path / "parts", vocab_size=100) as writer:
        for document in DOCUMENTS:
            writer.append([document])
        writer.finish()
    for file in (tmp_path / "whole").rglob("*"):
        if file.is_file():
            other = tmp_path / "parts" / file.relative_to(tmp_path / "whole")
            assert file.read_bytes() == other.read_bytes()


def test_empty_documents_and_sentences_stay_out(tmp_path):
    store = write(tmp_path / "s", [[], [[]], [[1], [], [2]], [[]]])
    assert (store.num_documents, store.num_sentences) == (1, 2)


@pytest.mark.parametrize("token", [-1, 100])
def test_an_id_outside_the_vocabulary_is_refused(tmp_path, token):
    with pytest.raises(ValueError, match="outside the vocabulary of 100"):
        write(tmp_path / "s", [[[token]]])
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing(tmp_path):
    def documents():
        yield [[1]]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(tmp_path / "s", documents())
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_store_and_the_next_one_cleans_up(tmp_path):
    end(held_by_another_process(tmp_path / "s"))
    (left,) = tmp_path.iterdir()
    with pytest.raises(UserError, match="interrupted"):
        TokenStore.open(left)
    with pytest.raises(UserError, match="no such token store"):
        TokenStore.open(tmp_path / "s")
    (left / "stale").mkdir()
    write(tmp_path / "s")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    assert "stale" not in {p.name for p in (tmp_path / "s").iterdir()}


def test_two_writers_do_not_share_a_path(tmp_path):
    child = held_by_another_process(tmp_path / "s")
    try:
        with pytest.raises(UserError, match="another prepare is writing there"):
            write(tmp_path / "s")
    finally:
        end(child)


def test_where_a_file_system_has_no_locks_a_store_is_written_and_it_is_said(
    tmp_path, monkeypatch, caplog
):
    def without(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    assert write(tmp_path / "s").num_documents == 3
    assert "its file system has no locks" in caplog.text


def test_an_existing_store_is_replaced_only_on_request(tmp_path):
    write(tmp_path / "s")
    with pytest.raises(UserError, match="add --overwrite"):
        write(tmp_path / "s", [[[1]]])
    assert TokenStore.open(tmp_path / "s").num_documents == 3
    assert write(tmp_path / "s", [[[1]]], overwrite=True).num_documents == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_directory_that_is_no_store_is_never_replaced(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not a token store"):
        write(tmp_path / "s", overwrite=True)
    assert (tmp_path / "s" / "thesis.tex").exists()


def test_a_truncated_file_is_named(tmp_path):
    write(tmp_path / "s")
    os.truncate(tmp_path / "s" / "shards/00000/tokens.bin", 4)
    with pytest.raises(UserError, match=r"tokens.bin: .*has 4 bytes, expected 20"):
        TokenStore.open(tmp_path / "s")


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path / "s")
    (tmp_path / "s" / "shards/00000/document_offsets.bin").unlink()
    with pytest.raises(UserError, match=r"document_offsets.bin: .*is missing"):
        TokenStore.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "store version 99, this jaxbert reads version 3; update jaxbert"),
        ({"version": 2}, "store version 2, .* prepare the store again"),
        ({"format": "something else"}, "not the description of a token store"),
        ({"version": None}, "not the description of a token store"),
        ({"version": "3"}, "not the description of a token store"),
    ],
)
def test_a_foreign_or_newer_store_is_refused(tmp_path, change, message):
    write(tmp_path / "s")
    file = tmp_path / "s" / "store.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        TokenStore.open(tmp_path / "s")


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_broken_description_is_refused(tmp_path, text):
    write(tmp_path / "s")
    (tmp_path / "s" / "store.json").write_text(text)
    with pytest.raises(UserError, match=r"store.json: not"):
        TokenStore.open(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in ("dtype", "vocab_size", "tokenizer", "files", "shards")),
        ("tokens", "3"),
        ("documents", True),
        ("dtype", "float32"),
        ("files", ["a"]),
        ("files", {"a": "b"}),
        ("shards", ["00000"]),
        ("shards", [{"documents": 1}]),
        ("shards", [{"documents": 1, "sentences": 1, "tokens": 1, "crc32c": {"tokens": 1}}]),
    ],
)
def test_a_description_without_what_it_needs_is_one_line(tmp_path, name, value):
    write(tmp_path / "s")
    file = tmp_path / "s" / "store.json"
    said = json.loads(file.read_text()) | {name: value}
    if value is None:
        del said[name]
    file.write_text(json.dumps(said))
    with pytest.raises(
        UserError, match=rf"store.json: the store is damaged: '{name}' is missing or"
    ):
        TokenStore.open(tmp_path / "s")


def test_what_others_put_beside_the_shards_does_not_stop_who_goes_on(tmp_path):
    def going_on():
        return PartialStore(tmp_path / "s", key={"of": "this"})

    with going_on() as partial:
        writer = StoreWriter(tmp_path / "s", vocab_size=100, partial=partial)
        writer.append(DOCUMENTS[:1])
        writer.end_shard()
        partial.note([asdict(shard) for shard in writer.finished], {})
        writer.append(DOCUMENTS[1:])
        writer.end_shard()
        (partial.directory / "shards" / ".DS_Store").write_text("theirs")
    with going_on() as partial:
        writer = StoreWriter(tmp_path / "s", vocab_size=100, partial=partial)
        writer.append(DOCUMENTS[1:])
        writer.finish()
    assert TokenStore.open(tmp_path / "s").num_documents == len(DOCUMENTS)


@pytest.mark.parametrize("text", ["", '{"key": {}}', "[]"])
def test_a_damaged_journal_of_an_unfinished_store_is_one_line_each_time(tmp_path, text):
    notes = tmp_path / "s.partial" / "unfinished"
    notes.mkdir(parents=True)
    (notes / "journal.json").write_text(text)
    for _ in range(2):
        with pytest.raises(UserError, match=r"journal.json: .* remove the directory .*s.partial,"):
            PartialStore(tmp_path / "s", key={})


def test_opening_reads_no_tokens(tmp_path):
    tokens = np.zeros(200_000, np.uint16)
    with StoreWriter(tmp_path / "s", vocab_size=100) as writer:
        writer.append_arrays(tokens, np.array([len(tokens)]), np.array([1]))
        writer.finish()
    file = tmp_path / "s" / "shards" / "00000" / "tokens.bin"
    content = bytearray(file.read_bytes())
    content[:1000] = bytes(range(250)) * 4
    file.write_bytes(content)
    store = TokenStore.open(tmp_path / "s")
    # Nor does reading the end look at the beginning.
    assert store.read([len(tokens) - 1], [1]).tolist() == [0]
    with pytest.raises(UserError):
        store.read([0], [1])


def test_a_file_in_the_place_of_a_store_is_not_called_missing(tmp_path):
    (tmp_path / "dev.csv").write_text("text,label\n")
    with pytest.raises(UserError, match=r"dev\.csv: is a file, expected the directory of a token"):
        TokenStore.open(tmp_path / "dev.csv")
