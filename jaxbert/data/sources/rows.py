"""Documents that are the rows of a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from jaxbert.data.lines import Advance
from jaxbert.data.problems import LEFT_OUT, Problems
from jaxbert.data.sources.document import Document
from jaxbert.data.tables import DATA_SETS, read_rows
from jaxbert.errors import kind_of


def is_text(value: Any, column: str, file: str, line: int, problems: Problems) -> TypeGuard[str]:
    """Whether the value of a column is a string; another is reported."""
    if isinstance(value, str):
        return True
    detail = f"{column}: a {kind_of(value)}, not a string{LEFT_OUT}"
    problems.add("not a string", file, line, detail)
    return False


@dataclass(frozen=True)
class TableRows:
    """One column of a table, a document a row; data sets of the hub are read as streams."""

    spec: str
    column: str

    @property
    def path(self) -> Path | None:
        """The file or saved data set; None for what is named (`hf:`, `tfds:`)."""
        return None if self.spec.startswith(DATA_SETS) else Path(self.spec)

    @property
    def size(self) -> int | None:
        """Bytes on disk of a file; unknown for a data set."""
        path = self.path
        return path.stat().st_size if path is not None and path.is_file() else None

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """Documents in order; a value that is no text, or a blank one, is reported."""
        rows = read_rows(
            self.spec, columns=[self.column], problems=problems, advance=advance, streaming=True
        )
        for row in rows:
            value = row.values[self.column]
            if not is_text(value, self.column, row.file, row.line, problems):
                continue
            if not value.strip():
                problems.add("empty document", row.file, row.line, f"{self.column} is blank")
            else:
                yield Document(value, row.file, row.line)
