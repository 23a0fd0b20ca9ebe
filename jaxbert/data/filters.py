"""Which documents of a corpus are dropped, and why.

What a document alone tells (its quality, its digests) is found out in any process; whether it has
been there before is decided in one place, in the order of the corpus.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from jaxbert.data.digests import text_digest
from jaxbert.data.duplicates import ExactDuplicates, NearDuplicates
from jaxbert.data.min_hash import Bands, NearDuplicateConfig
from jaxbert.data.quality import Quality, QualityConfig
from jaxbert.data.sources.document import Document

_FILES = ("exact.digests", "near.digests")
_ROWS = 2**16


@dataclass(frozen=True)
class Filters:
    """What is dropped: by default nothing. They act in the order of the fields."""

    quality: QualityConfig | None = None
    exact_duplicates: bool = False
    near_duplicates: NearDuplicateConfig | None = None


NO_FILTERS = Filters()


class Examined(NamedTuple):
    """What documents tell by themselves; digests and bands are empty where no filter asks."""

    reasons: Sequence[str | None]
    digests: Sequence[int]
    bands: Sequence[tuple[int, ...]]


class Examiner:
    """Finds out what documents tell by themselves."""

    def __init__(self, filters: Filters):
        self._quality = None if filters.quality is None else Quality(filters.quality)
        self._exact = filters.exact_duplicates
        near = filters.near_duplicates
        self._bands = None if near is None else Bands(near)

    def __call__(self, documents: Sequence[Document]) -> Examined:
        """Why each document is to be dropped for its quality, and the digests of the others."""
        quality, bands = self._quality, self._bands
        reasons = [quality(document) if quality else None for document in documents]
        texts = [
            document.text if reason is None else ""
            for document, reason in zip(documents, reasons, strict=True)
        ]
        return Examined(
            reasons,
            [text_digest(text) for text in texts] if self._exact else (),
            [bands(text) for text in texts] if bands else (),
        )


class Seen:
    """Remembers the documents that were kept, in memory and in files of a directory.

    `sizes` are what `flush` gave: the files are cut to them, and what is in them is remembered.
    """

    def __init__(self, filters: Filters, directory: Path, sizes: Sequence[int] = (0, 0)):
        near = filters.near_duplicates
        self._exact = ExactDuplicates() if filters.exact_duplicates else None
        self._near = None if near is None else NearDuplicates()
        directory.mkdir(exist_ok=True)
        named = zip(_FILES, sizes, strict=True)
        self._files = [_cut(directory / name, size) for name, size in named]
        if self._exact:
            for (digest,) in _rows(self._files[0], 1):
                self._exact.add(digest)
        if near and self._near:
            for bands in _rows(self._files[1], near.bands_and_rows[0]):
                self._near.add(tuple(bands))

    def __call__(self, examined: Examined, index: int) -> str | None:
        """Why one of the examined documents is to be dropped, or None, and then remember it."""
        if self._exact:
            digest = examined.digests[index]
            if not self._exact.add(digest):
                return "exact duplicate"
            self._files[0].write(np.array([digest], "<u8").tobytes())
        if self._near and (bands := examined.bands[index]):
            if not self._near.add(bands):
                return "near duplicate"
            self._files[1].write(np.array(bands, "<u8").tobytes())
        return None

    def flush(self) -> list[int]:
        """Put the files on disk; their sizes."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        return [os.fstat(file.fileno()).st_size for file in self._files]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def _cut(path: Path, size: int) -> IO[bytes]:
    """A file of a size, for reading from its beginning and writing at its end."""
    file = open(path, "a+b")  # noqa: SIM115
    file.truncate(size)
    file.seek(0)
    return file


def _rows(file: IO[bytes], width: int) -> Iterator[list[int]]:
    while data := file.read(8 * width * _ROWS):
        yield from np.frombuffer(data, "<u8").reshape(-1, width).tolist()
