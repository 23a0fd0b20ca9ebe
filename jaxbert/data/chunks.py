"""The documents of a share of the sources, chunk by chunk, from any position on."""

from collections.abc import Iterator
from typing import NamedTuple

from jaxbert.data.lines import Advance
from jaxbert.data.parts import Share
from jaxbert.data.problems import Problem, Problems
from jaxbert.data.sources.document import Document

_CHUNK_CHARACTERS = 2**19
_CHUNK_DOCUMENTS = 4096


class Position(NamedTuple):
    """How far the sources have been read: whole sources, and documents of the next one."""

    source: int = 0
    documents: int = 0


class Chunk(NamedTuple):
    """Consecutive documents, the problems met before and among them, and where they end."""

    documents: list[Document]
    problems: list[Problem]
    end: Position


class _Read(NamedTuple):
    document: Document | None
    problems: list[Problem]
    end: Position


def read_chunks(share: Share, start: Position, advance: Advance) -> Iterator[Chunk]:
    """Chunks of some hundred thousand characters; the last one may be empty.

    Where a chunk ended another reading may start, and gives the same chunks from there on. Of a
    problem that concerns no document it is the next document that decides whose it is.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    size = 0
    for read in _read(share, start, advance):
        problems += read.problems
        if read.document is None:
            continue
        documents.append(read.document)
        size += len(read.document.text)
        if size >= _CHUNK_CHARACTERS or len(documents) >= _CHUNK_DOCUMENTS:
            yield Chunk(documents, problems, read.end)
            documents, problems, size = [], [], 0
    yield Chunk(documents, problems, Position(len(share.sources)))


def _read(share: Share, start: Position, advance: Advance) -> Iterator[_Read]:
    for source in share.sources[: start.source]:
        advance(source.size or 0)
    for number, source in enumerate(share.sources[start.source :], start.source):
        done = start.documents if number == start.source else 0
        met = Problems()
        count = 0
        for document in source.read(met, advance):
            problems = met.take()
            count += 1
            if count > done and (count - 1) % share.step == share.first:
                yield _Read(document, problems, Position(number, count))
        if count % share.step == share.first:
            yield _Read(None, met.take(), Position(number, count))
