"""Documents of FASTA files: the sequences of proteins, or of other molecules written in letters."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxbert.data.lines import Advance, carriage_returns, read_lines
from jaxbert.data.problems import Problems
from jaxbert.data.sources.document import Document
from jaxbert.data.sources.text import MAX_DOCUMENT
from jaxbert.errors import UserError

FASTA = (".fasta", ".fa", ".faa")
"""Suffixes of the files that are read so."""


@dataclass(frozen=True)
class FastaFile:
    """One FASTA file, plain or compressed: each record is a document, its lines joined."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """Sequences in order, as they are written; records without one are reported.

        Raises UserError for a file that does not begin with a header, which is none of FASTA's.
        """
        start, length = 0, 0
        lines: list[str] = []
        for number, line in read_lines(self.path, problems, advance):
            if line.startswith(">"):
                if "\r" in line:
                    raise carriage_returns(self.path)
                if start:
                    yield from self._record(lines, start, problems)
                start, lines, length = number, [], 0
                continue
            part = "".join(line.split())
            if part and not start:
                raise UserError(
                    f"{self.path}, line {number}: {part[:20]!r} before any header; expected FASTA, "
                    "in which a line that begins with > stands before every sequence"
                )
            if length + len(part) > MAX_DOCUMENT and lines:
                detail = f"over {MAX_DOCUMENT} letters; cut here"
                problems.add("long document", str(self.path), number, detail)
                yield from self._record(lines, start, problems)
                start, lines, length = number, [], 0
            lines.append(part)
            length += len(part)
        if start:
            yield from self._record(lines, start, problems)
        else:
            problems.add("empty document", str(self.path), 1, "the file holds no sequence")

    def _record(self, lines: list[str], start: int, problems: Problems) -> Iterator[Document]:
        text = "".join(lines)
        if text:
            yield Document(text, str(self.path), start)
        else:
            problems.add("empty document", str(self.path), start, "a header without a sequence")
