"""The token store: a corpus as token ids with sentence and document bounds, in shards.

A directory holds `shards/00000`, `shards/00001`, ..., the tokenizer, and `store.json`, which is
written last and says what the others must look like.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxbert.data.checksums import BLOCK_BYTES, joined_checksum
from jaxbert.data.description import parse_metadata
from jaxbert.data.shard import OFFSET, Shard, ShardRecord
from jaxbert.errors import UserError

METADATA, SHARDS, TOKENIZER = "store.json", "shards", "tokenizer"


@dataclass(frozen=True)
class TokenStore:
    """A corpus of token ids, opened without reading it: every array is memory-mapped."""

    path: Path
    metadata: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> "TokenStore":
        """Open a finished store; anything else raises a UserError that says what it is instead.

        A store at a URL is brought into the cache first, but for what is there already.
        """
        if "://" in str(path):
            from jaxbert.data.mirror import mirror

            path = mirror(str(path))
        path = Path(path)
        store = cls(path, _read_metadata(path))
        for name, size in file_sizes(store.metadata).items():
            _check_size(path / name, size)
        if tokenizer_fingerprint(path) != store.metadata["tokenizer"]:
            raise UserError(
                f"{store.tokenizer_directory}: not the tokenizer that made this store; put the"
                " files back that were there, or prepare the store again with this one"
            )
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        # What is cached is made again in the other process; pickled, the maps would be copies.
        return type(self), (self.path, self.metadata)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The shards in the order of the corpus."""
        shards = []
        tokens = sentences = documents = 0
        for number, described in enumerate(self.metadata["shards"]):
            record = ShardRecord(**described)
            path = self.path / shard_name(number)
            shards.append(Shard(path, record, self.dtype, tokens, sentences, documents))
            tokens += record.tokens
            sentences += record.sentences
            documents += record.documents
        return tuple(shards)

    @property
    def num_documents(self) -> int:
        """Number of documents, none of them empty."""
        return self.metadata["documents"]

    @property
    def num_sentences(self) -> int:
        """Number of sentences, none of them empty."""
        return self.metadata["sentences"]

    @property
    def num_tokens(self) -> int:
        """Number of tokens; no special tokens among them."""
        return self.metadata["tokens"]

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary that the ids come from."""
        return self.metadata["vocab_size"]

    @property
    def dtype(self) -> np.dtype:
        """uint16 where the vocabulary allows, else uint32."""
        return np.dtype(self.metadata["dtype"])

    @property
    def tokenizer_directory(self) -> Path:
        """Where the tokenizer that made the tokens is saved."""
        return self.path / TOKENIZER

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any token or boundary, and with nothing else: 16 hexadecimal digits.

        How the corpus was cut into shards makes no difference.
        """
        records = [shard.record for shard in self.shards]
        streams = (
            ("tokens", [r.tokens * self.dtype.itemsize for r in records]),
            ("sentence_lengths", [r.sentences * OFFSET.itemsize for r in records]),
            ("document_lengths", [r.documents * OFFSET.itemsize for r in records]),
        )
        whole = [_joined([r.crc32c[name] for r in records], sizes) for name, sizes in streams]
        counts = [self.num_tokens, self.num_sentences, self.num_documents]
        return hashlib.sha256(json.dumps([counts, whole]).encode()).hexdigest()[:16]

    def document_digests(self) -> NDArray[np.uint32]:
        """A number of every document that its ids alone decide: [documents]."""
        found = [shard.document_digests() for shard in self.shards]
        return np.concatenate(found) if found else np.zeros(0, np.uint32)

    def read(self, starts: ArrayLike, lengths: ArrayLike) -> NDArray[np.unsignedinteger]:
        """Token ids of many ranges, one after the other.

        `starts` [ranges] are positions in the store, `lengths` [ranges] in tokens; no range leaves
        its shard (ValueError). Every block of a file is compared with its checksum when it is
        first touched: a UserError names what is damaged.
        """
        starts, lengths = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
        numbers = np.searchsorted(self._first_tokens, starts, side="right") - 1
        local = starts - self._first_tokens[numbers]
        ends = np.array([shard.num_tokens for shard in self.shards], np.int64)[numbers]
        if (starts < 0).any() or (lengths < 0).any() or (local + lengths > ends).any():
            raise ValueError(f"a range leaves its shard of a store of {self.num_tokens} tokens")
        self._check(numbers, local, lengths)
        # A loop, because it is faster than one gather with an index a token (8 bytes for 2).
        ranges = zip(numbers.tolist(), local.tolist(), (local + lengths).tolist(), strict=True)
        shards = self.shards
        pieces = [shards[number].unchecked_tokens[start:stop] for number, start, stop in ranges]
        return np.concatenate(pieces) if pieces else np.zeros(0, self.dtype)

    def sentence(self, index: int) -> NDArray[np.unsignedinteger]:
        """Token ids of one sentence, counted over the whole store."""
        firsts = [shard.first_sentence for shard in self.shards]
        shard = self._shard_of(index, self.num_sentences, firsts)
        start, end = shard.sentence_offsets[index - shard.first_sentence :][:2].tolist()
        return self.read([shard.first_token + start], [end - start])

    def document(self, index: int) -> list[NDArray[np.unsignedinteger]]:
        """Token ids of every sentence of one document."""
        firsts = [shard.first_document for shard in self.shards]
        shard = self._shard_of(index, self.num_documents, firsts)
        start, end = shard.document_offsets[index - shard.first_document :][:2].tolist()
        return [self.sentence(shard.first_sentence + i) for i in range(start, end)]

    @cached_property
    def _first_tokens(self) -> NDArray[np.int64]:
        return np.array([shard.first_token for shard in self.shards], np.int64)

    @cached_property
    def _first_blocks(self) -> NDArray[np.int64]:
        counts = [-(-s.num_tokens * self.dtype.itemsize // BLOCK_BYTES) for s in self.shards]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])

    @cached_property
    def _is_checked(self) -> NDArray[np.bool_]:
        return np.zeros(self._first_blocks[-1], bool)

    def _check(
        self, numbers: NDArray[np.int64], local: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> None:
        """Compares every block that a range touches with its checksum, unless that was done."""
        per_block = BLOCK_BYTES // self.dtype.itemsize
        first, last = local // per_block, (local + lengths - 1) // per_block
        counts = np.where(lengths > 0, last - first + 1, 0)
        touched = _runs(self._first_blocks[numbers] + first, counts)
        unchecked = touched[~self._is_checked[touched]]
        if not len(unchecked):
            return
        for block in np.unique(unchecked).tolist():
            number = int(np.searchsorted(self._first_blocks, block, side="right")) - 1
            self.shards[number].check_block(block - int(self._first_blocks[number]))
            self._is_checked[block] = True

    def _shard_of(self, index: int, count: int, firsts: Sequence[int]) -> Shard:
        if not 0 <= index < count:
            raise IndexError(f"index {index} is outside 0 to {count - 1}")
        return self.shards[int(np.searchsorted(firsts, index, side="right")) - 1]


def shard_name(number: int) -> str:
    """Where in a store its shards lie."""
    return f"{SHARDS}/{number:05d}"


def tokenizer_fingerprint(store: Path) -> str:
    """Changes with any file of the tokenizer of a store."""
    digest = hashlib.sha256()
    for file in sorted((store / TOKENIZER).rglob("*")):
        if file.is_file():
            name = file.relative_to(store).as_posix()
            digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def file_sizes(metadata: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of every file of a store but store.json."""
    sizes = dict(metadata["files"])
    dtype = np.dtype(metadata["dtype"])
    for number, described in enumerate(metadata["shards"]):
        for name, size in ShardRecord(**described).file_sizes(dtype).items():
            sizes[f"{shard_name(number)}/{name}"] = size
    return sizes


def _read_metadata(path: Path) -> dict[str, Any]:
    file = path / METADATA
    if path.is_file():
        raise UserError(
            f"{path}: is a file, expected the directory of a token store (`jaxbert prepare` makes "
            "one of texts; a masked LM is evaluated on such, labelled data are for a fine-tuned "
            "model)"
        )
    if not path.is_dir():
        raise UserError(f"{path}: no such token store; make it with `jaxbert prepare --out {path}`")
    if not file.is_file():
        raise UserError(
            f"{path}: not a token store, or one whose prepare was interrupted (it has no"
            f" {METADATA}); make it with `jaxbert prepare`"
        )
    return parse_metadata(file.read_bytes(), file)


def _check_size(file: Path, size: int) -> None:
    found = file.stat().st_size if file.is_file() else None
    if found != size:
        state = "is missing" if found is None else f"has {found} bytes"
        raise UserError(
            f"{file}: the store is damaged: the file {state}, expected {size} bytes; copy it again"
            " from where the store came from, or prepare the store again"
        )


def _joined(checksums: Iterable[int], sizes: Iterable[int]) -> int:
    parts = zip(checksums, sizes, strict=True)
    return reduce(lambda whole, part: joined_checksum(whole, *part), parts, 0)


def _runs(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Integers start, start + 1, ... of every run, one run after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
