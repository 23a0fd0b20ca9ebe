"""What a source gives: documents, and where each of them came from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from jaxbert.data.lines import Advance
from jaxbert.data.problems import Problems


class Docstring(NamedTuple):
    """One docstring: the dotted name of what it describes, its first line, its cleaned text."""

    name: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document and its origin; `package`, `module` and `docstrings` only from `docs:`.

    `lines` are those of the file where `text` does not show them any more.
    """

    text: str
    file: str
    line: int
    package: str = ""
    module: str = ""
    docstrings: tuple[Docstring, ...] = ()
    lines: tuple[str, ...] = ()


Filter = Callable[[Document], str | None]
"""Says in a few words why a document is to be dropped; None keeps it."""


class Source(Protocol):
    """Something that documents can be read from, as often as one likes; equal ones are one."""

    @property
    def path(self) -> Path | None:
        """The file or directory that is read; None where no path was given."""

    @property
    def size(self) -> int | None:
        """What all that `advance` gets adds up to; None where it is not known before reading."""

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """The documents in order; malformed input goes to `problems`."""


def utf8_size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
