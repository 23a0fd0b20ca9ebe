"""One shard of a token store: a directory of arrays that can be read without the other shards."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from jaxbert.data.checksums import BLOCK_BYTES
from jaxbert.errors import UserError

TOKENS, CHECKSUMS = "tokens.bin", "checksums.bin"
SENTENCES, DOCUMENTS = "sentence_offsets.bin", "document_offsets.bin"
DIGESTS = "document_digests.bin"
OFFSET = np.dtype("<u4")
MAX_TOKENS = 2**32 - 1
Offsets = NDArray[np.uint32]


@dataclass(frozen=True)
class ShardRecord:
    """What store.json says of a shard: its counts, and CRC-32C of what is in it.

    `crc32c` has `tokens` (all bytes of tokens.bin), `sentence_lengths` (uint32, in tokens),
    `document_lengths` (uint32, in sentences), `blocks` (checksums.bin) and `document_digests`.
    """

    documents: int
    sentences: int
    tokens: int
    crc32c: Mapping[str, int]

    def file_sizes(self, dtype: np.dtype) -> dict[str, int]:
        """Bytes of each file."""
        token_bytes = self.tokens * dtype.itemsize
        return {
            TOKENS: token_bytes,
            CHECKSUMS: -(-token_bytes // BLOCK_BYTES) * OFFSET.itemsize,
            SENTENCES: (self.sentences + 1) * OFFSET.itemsize,
            DOCUMENTS: (self.documents + 1) * OFFSET.itemsize,
            DIGESTS: self.documents * OFFSET.itemsize,
        }


@dataclass(frozen=True)
class Shard:
    """Some consecutive documents of a store, memory-mapped, and where they lie in it.

    `first_token`, `first_sentence` and `first_document` count over the store. A file that does not
    keep its checksum is a UserError when it is first used.
    """

    path: Path
    record: ShardRecord
    dtype: np.dtype
    first_token: int
    first_sentence: int
    first_document: int

    def __reduce__(self) -> tuple[Any, ...]:
        # The maps are made again in the other process; pickled, they would be copies.
        return type(self), tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @property
    def num_documents(self) -> int:
        """Number of documents, none of them empty."""
        return self.record.documents

    @property
    def num_sentences(self) -> int:
        """Number of sentences, none of them empty."""
        return self.record.sentences

    @property
    def num_tokens(self) -> int:
        """Number of tokens."""
        return self.record.tokens

    @cached_property
    def sentence_offsets(self) -> Offsets:
        """Sentence i is tokens [offsets[i], offsets[i + 1]) of the shard: [sentences + 1]."""
        return self._offsets(SENTENCES, self.num_sentences, "sentence_lengths")

    @cached_property
    def document_offsets(self) -> Offsets:
        """Document i is sentences [offsets[i], offsets[i + 1]) of the shard: [documents + 1]."""
        return self._offsets(DOCUMENTS, self.num_documents, "document_lengths")

    def document_digests(self) -> NDArray[np.uint32]:
        """CRC-32C of the ids of every document, as uint32: [documents]."""
        return self._checked(DIGESTS, self.num_documents, "document_digests")

    @cached_property
    def unchecked_tokens(self) -> NDArray[np.unsignedinteger]:
        """The token ids [tokens], whatever is on disk; `check_block` says whether it is right."""
        return self._map(TOKENS, self.dtype, self.num_tokens)

    def check_block(self, number: int) -> None:
        """Raise a UserError if a block of tokens.bin is not what was written."""
        tokens = BLOCK_BYTES // self.dtype.itemsize
        data = self.unchecked_tokens[number * tokens : (number + 1) * tokens].tobytes()
        if google_crc32c.value(data) != self._block_checksums[number]:
            start = number * BLOCK_BYTES
            raise _damaged(self.path / TOKENS, f"bytes {start} to {start + len(data)}")

    @cached_property
    def _block_checksums(self) -> NDArray[np.uint32]:
        count = self.record.file_sizes(self.dtype)[CHECKSUMS] // OFFSET.itemsize
        return self._checked(CHECKSUMS, count, "blocks")

    def _checked(self, name: str, count: int, checksum: str) -> NDArray[np.uint32]:
        values = self._map(name, OFFSET, count)
        if google_crc32c.value(values.tobytes()) != self.record.crc32c[checksum]:
            raise _damaged(self.path / name, "bytes")
        return values

    def _offsets(self, name: str, count: int, checksum: str) -> Offsets:
        offsets = self._map(name, OFFSET, count + 1)
        lengths = np.diff(offsets).tobytes()
        if offsets[0] != 0 or google_crc32c.value(lengths) != self.record.crc32c[checksum]:
            raise _damaged(self.path / name, "bytes")
        return offsets

    def _map(self, name: str, dtype: np.dtype, length: int) -> np.ndarray:
        # A plain array: every slice of a memmap costs a microsecond more.
        return np.asarray(np.memmap(self.path / name, dtype=dtype, mode="r", shape=(length,)))


def _damaged(file: Path, what: str) -> UserError:
    return UserError(
        f"{file}: {what} do not match their checksum; delete the file and copy it again from where"
        " the store came from (a store at a URL fetches it by itself), or prepare the store again"
    )
