"""Documents of plain text files: lines, and a blank line between documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxbert.data.lines import Advance, carriage_returns, read_lines
from jaxbert.data.problems import Problems
from jaxbert.data.sources.document import Document
from jaxbert.text.sentences import pieces

# Without blank lines a file of any size would be one document, whose text, sentences and tokens are
# in memory together.
MAX_DOCUMENT = 2**20


@dataclass(frozen=True)
class TextFile:
    """One text file, plain or compressed; `separator` joins the lines of a document."""

    path: Path
    separator: str = " "

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """Documents in order; a file without any is reported as an empty document."""
        lines: list[str] = []
        start = length = documents = 0
        for number, line in self._lines(problems, advance):
            is_blank = not line.strip()
            if lines and (is_blank or length + len(line) > MAX_DOCUMENT):
                if not is_blank:
                    detail = f"over {MAX_DOCUMENT} characters without a blank line; cut here"
                    problems.add("long document", str(self.path), number, detail)
                yield self._document(lines, start)
                documents += 1
                lines, length = [], 0
            if not is_blank:
                start = start if lines else number
                lines.append(line)
                length += len(line)
        if lines:
            yield self._document(lines, start)
        elif not documents:
            problems.add("empty document", str(self.path), 1, "the file holds no text")

    def _lines(self, problems: Problems, advance: Advance) -> Iterator[tuple[int, str]]:
        """Numbers and lines; one too long for a document in parts, of which no two fit into one."""
        has_returns = False
        for number, line in read_lines(self.path, problems, advance):
            has_returns = number == 1 and "\r" in line.rstrip("\r")
            for piece in pieces(line, MAX_DOCUMENT):
                yield number, piece
        # Within one of several lines they may be anything.
        if has_returns:
            raise carriage_returns(self.path)

    def _document(self, lines: list[str], start: int) -> Document:
        text = self.separator.join(lines)
        return Document(text, str(self.path), start, lines=tuple(lines))
