"""The beginning of a corpus: the first so much text of all its sources together."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from jaxbert.data.lines import Advance, no_advance
from jaxbert.data.problems import Problems
from jaxbert.data.sources.document import Document, Source, utf8_size

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Beginning:
    """Sources as one, which ends with the document that reaches `limit_bytes` of text (UTF-8)."""

    sources: tuple[Source, ...]
    limit_bytes: int

    @property
    def path(self) -> None:
        """The sources have theirs."""
        return None

    @property
    def size(self) -> int:
        """The limit: how much of the files that will be is not known before."""
        return self.limit_bytes

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """The first documents in order; `advance` gets the size of their text."""
        documents = (d for source in self.sources for d in source.read(problems, no_advance))
        for document in up_to(self.limit_bytes, documents, _size):
            advance(_size(document))
            yield document


def up_to(
    limit_bytes: int | None, items: Iterable[_Item], size: Callable[[_Item], int]
) -> Iterator[_Item]:
    """The items up to the one with which their sizes add up to the limit; None is no limit."""
    total = 0
    for item in items:
        yield item
        total += size(item)
        if limit_bytes is not None and total >= limit_bytes:
            return


def _size(document: Document) -> int:
    return utf8_size(document.text)
