import json
import pickle

import google_crc32c
import numpy as np
import pytest

from jaxbert.data.checksums import BLOCK_BYTES, RunningChecksum, joined_checksum
from jaxbert.data.store import TokenStore
from jaxbert.data.writer import StoreWriter
from jaxbert.errors import UserError

BLOCK_TOKENS = BLOCK_BYTES // 2


def random_documents(seed, count):
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(0, 1000, rng.integers(1, 60)).tolist() for _ in range(rng.integers(1, 8))]
        for _ in range(count)
    ]


def write(path, documents, shard_tokens=2**26, vocab_size=1000):
    with StoreWriter(path, vocab_size=vocab_size, shard_tokens=shard_tokens) as writer:
        for document in documents:
            writer.append([document])
        writer.finish()
    return TokenStore.open(path)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A store of many shards, some tokens wide, beside the flat list of its tokens."""
    documents = random_documents(0, 1200)
    store = write(tmp_path_factory.mktemp("sharded") / "s", documents, shard_tokens=40_000)
    return store, np.array([token for d in documents for s in d for token in s])


def test_joined_checksums_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    for first, second in rng.integers(0, 5000, (20, 2)):
        a, b = rng.bytes(first), rng.bytes(second)
        joined = joined_checksum(google_crc32c.value(a), google_crc32c.value(b), len(b))
        assert joined == google_crc32c.value(a + b)


def test_block_checksums_do_not_depend_on_how_the_data_came():
    data = np.random.default_rng(0).bytes(3 * BLOCK_BYTES + 5)
    running = RunningChecksum()
    for start in range(0, len(data), 50_001):
        running.update(data[start : start + 50_001])
    blocks = [data[i : i + BLOCK_BYTES] for i in range(0, len(data), BLOCK_BYTES)]
    assert running.blocks().tolist() == [google_crc32c.value(block) for block in blocks]
    assert running.value == google_crc32c.value(data)


def test_ranges_are_read_wherever_they_lie(sharded):
    store, tokens = sharded
    assert len(store.shards) > 3
    rng = np.random.default_rng(1)
    shard = [store.shards[i] for i in rng.integers(0, len(store.shards), 500)]
    ends = np.array([s.first_token + s.num_tokens for s in shard])
    starts = rng.integers([s.first_token for s in shard], ends)
    lengths = rng.integers(0, np.minimum(ends - starts, 700) + 1)
    lengths[::50] = 0
    expected = [tokens[a : a + n] for a, n in zip(starts, lengths, strict=True)]
    read = store.read(starts, lengths)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, np.concatenate(expected))
    assert store.read([], []).tolist() == []
    assert store.read([store.num_tokens], [0]).tolist() == []


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (5, -1), (39_000, 3_000), (10**6, 1)])
def test_a_range_that_leaves_its_shard_is_refused(sharded, start, length):
    with pytest.raises(ValueError, match="a range leaves its shard"):
        sharded[0].read([0, start], [1, length])


def test_shards_tell_where_they_lie(sharded):
    store, tokens = sharded
    assert sum(shard.num_tokens for shard in store.shards) == store.num_tokens == len(tokens)
    for shard in store.shards:
        assert (shard.num_tokens, shard.num_sentences) == (
            shard.sentence_offsets[-1],
            shard.document_offsets[-1],
        )
        assert shard.sentence_offsets.dtype == np.uint32
        document = [s.tolist() for s in store.document(shard.first_document)]
        assert store.sentence(shard.first_sentence).tolist() == document[0]
        np.testing.assert_array_equal(tokens[shard.first_token :][: len(document[0])], document[0])


def test_the_fingerprint_does_not_depend_on_the_shards(tmp_path):
    documents = random_documents(3, 40)
    prints = {
        write(tmp_path / f"{size}", documents, shard_tokens=size).fingerprint
        for size in (1, 100, 1000, 10**6)
    }
    assert len(prints) == 1


def test_the_fingerprint_tells_tokens_sentences_and_documents(tmp_path):
    corpora = [
        [[[1, 2], [3]], [[4]]],
        [[[1, 2], [3]], [[5]]],
        [[[1], [2, 3]], [[4]]],
        [[[1, 2]], [[3], [4]]],
    ]
    prints = {write(tmp_path / f"{i}", c).fingerprint for i, c in enumerate(corpora)}
    assert len(prints) == len(corpora)


def test_a_flipped_byte_is_found_in_the_block_that_is_read(tmp_path):
    write(tmp_path / "s", [[list(range(1000)) * 100]], shard_tokens=10**6)
    flip(tmp_path / "s/shards/00000/tokens.bin", 2 * BLOCK_TOKENS + 10)
    store = TokenStore.open(tmp_path / "s")
    store.read([0], [BLOCK_TOKENS])
    store.read([2 * BLOCK_TOKENS], [10])
    with pytest.raises(UserError, match=r"shards/00000/tokens.bin: bytes 65536 to 131072 do not"):
        store.read([BLOCK_TOKENS - 1], [BLOCK_TOKENS + 2])


def test_a_block_is_checked_once(tmp_path, monkeypatch):
    store = write(tmp_path / "s", [[list(range(1000)) * 100]])
    checked = []
    monkeypatch.setattr(type(store.shards[0]), "check_block", lambda _, n: checked.append(n))
    store.read([0, 10, 40_000], [5, 40_000, 5])
    store.read([0, 70_000], [100, 30_000])
    assert checked == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("sentence_offsets.bin", lambda store: store.shards[0].sentence_offsets),
        ("document_offsets.bin", lambda store: store.shards[0].document_offsets),
        ("checksums.bin", lambda store: store.read([0], [1])),
        ("document_digests.bin", lambda store: store.document_digests()),
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_a_flipped_byte_beside_the_tokens_is_found(tmp_path, name, use, place):
    write(tmp_path / "s", [[[1, 2], [3]], [[4]]])
    flip(tmp_path / "s/shards/00000" / name, place)
    store = TokenStore.open(tmp_path / "s")
    with pytest.raises(UserError, match=rf"{name}: bytes do not match their checksum"):
        use(store)


def test_another_tokenizer_in_a_store_is_refused(tmp_path):
    with StoreWriter(tmp_path / "s", vocab_size=10) as writer:
        (writer.directory / "tokenizer").mkdir()
        (writer.directory / "tokenizer/vocab.txt").write_text("a b c")
        writer.append([[[1]]])
        writer.finish()
    TokenStore.open(tmp_path / "s")
    (tmp_path / "s/tokenizer/vocab.txt").write_text("a b d")
    with pytest.raises(UserError, match=r"s/tokenizer: not the tokenizer that made this store"):
        TokenStore.open(tmp_path / "s")


def test_a_store_goes_to_another_process_without_its_arrays(sharded):
    store, tokens = sharded
    store.read([0], [10])
    pickled = pickle.dumps((store, store.shards[0]))
    assert len(pickled) < 2 * len(json.dumps(store.metadata)) < len(tokens)
    other, shard = pickle.loads(pickled)
    np.testing.assert_array_equal(other.read([5], [50]), tokens[5:55])
    assert shard.sentence_offsets[-1] == shard.num_tokens
