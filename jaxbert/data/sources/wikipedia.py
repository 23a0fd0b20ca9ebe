"""Articles of MediaWiki's XML dumps and of what WikiExtractor makes of them."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from jaxbert.data.compression import UNREADABLE, decompressed, read_error
from jaxbert.data.lines import Advance, position, read_lines
from jaxbert.data.problems import Problems
from jaxbert.data.sources.document import Document
from jaxbert.data.sources.rows import is_text
from jaxbert.data.sources.wikitext import PlainText, plain_text
from jaxbert.data.table_files import Reading, read_jsonl
from jaxbert.errors import UserError

_ARTICLES = "0"
# Files and categories: what is linked there is no running text.
_NO_TEXT = ("6", "14")
# Every wiki understands the English names beside its own.
_HIDDEN = ("File", "Image", "Category")
_TEXT = "text"
_KEYS = {"id", "url", "title", _TEXT}
_OPENS = re.compile(r'<doc id="[^"]*".* title="(.*)">$')


@dataclass(frozen=True)
class WikiDump:
    """A `pages-articles` dump, plain or compressed, read as a stream."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """Articles in order, numbered by their page, without redirects and other namespaces.

        Of several revisions the last is read. A file that is no MediaWiki dump, or is cut off, is
        a UserError.
        """
        number = 0
        try:
            with open(self.path, "rb", buffering=2**20) as disk:
                stream, reported = decompressed(disk, self.path), 0
                for number, page, strip in self._pages(stream):
                    if _is_article(page):
                        yield from self._article(page, number, strip, problems)
                    advance(position(disk) - reported)
                    reported = position(disk)
                advance(position(disk) - reported)
        except UNREADABLE as error:
            raise read_error(self.path, f"after page {number}", error) from None
        except ElementTree.ParseError as error:
            raise UserError(
                f"{self.path}, after page {number}: not well-formed XML, or cut off ({error});"
                " fetch it again"
            ) from None
        if not number:
            problems.add("empty document", str(self.path), 1, "the file holds no pages")

    def _article(
        self, page: ElementTree.Element, number: int, strip: PlainText, problems: Problems
    ) -> Iterator[Document]:
        title = page.findtext("{*}title")
        try:
            text = strip(_markup(page))
        except ValueError as error:
            problems.add("unreadable markup", str(self.path), number, f"{title}: {error}; left out")
            return
        if text:
            yield Document(text, str(self.path), number)
        else:
            problems.add("empty document", str(self.path), number, f"{title}: no text")

    def _pages(self, stream: IO[bytes]) -> Iterator[tuple[int, ElementTree.Element, PlainText]]:
        """Pages with their numbers, and what makes text of their markup."""
        events = ElementTree.iterparse(stream, ("start", "end"))
        _, root = next(events)
        if _name(root) != "mediawiki":
            raise UserError(
                f"{self.path}: not a MediaWiki dump: its XML begins with <{_name(root)}>, expected"
                " <mediawiki>"
            )
        hidden, number = list(_HIDDEN), 0
        strip = plain_text(hidden)
        for event, element in events:
            if event == "end" and _name(element) == "siteinfo":
                names = element.iterfind("{*}namespaces/{*}namespace")
                hidden += [name.text or "" for name in names if name.get("key") in _NO_TEXT]
                strip = plain_text(hidden)
            elif event == "end" and _name(element) == "page":
                number += 1
                yield number, element, strip
                # Else the whole dump would be kept.
                root.clear()


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _is_article(page: ElementTree.Element) -> bool:
    if page.findtext("{*}ns") != _ARTICLES or page.find("{*}redirect") is not None:
        return False
    return page.findtext("{*}revision/{*}model", "wikitext") == "wikitext"


def _markup(page: ElementTree.Element) -> str:
    revisions = page.findall("{*}revision/{*}text")
    return (revisions[-1].text or "") if revisions else ""


def is_extracted(path: Path) -> bool:
    """Whether JSON lines are WikiExtractor's, by the keys of the first."""
    _, first = next(read_lines(path, Problems()), (1, ""))
    try:
        return json.loads(first).keys() >= _KEYS
    except (ValueError, RecursionError):
        # It will be reported by whoever reads the rows.
        return False


@dataclass(frozen=True)
class WikiExtract:
    """A file of WikiExtractor: `<doc>` elements, or one JSON object a line.

    Both hold text in which <, > and & are escaped.
    """

    path: Path
    is_json: bool

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """Articles in order, without their titles; one without text is reported."""
        articles = self._objects if self.is_json else self._elements
        for number, text in articles(problems, advance):
            text = html.unescape(text).strip()
            if text:
                yield Document(text, str(self.path), number)
            else:
                problems.add("empty document", str(self.path), number, "the article has no text")

    def _objects(self, problems: Problems, advance: Advance) -> Iterator[tuple[int, str]]:
        reading = Reading(None, [_TEXT], problems, advance, False, {})
        for number, row in read_jsonl(self.path, reading):
            if is_text(row[_TEXT], _TEXT, str(self.path), number, problems):
                yield number, row[_TEXT]

    def _elements(self, problems: Problems, advance: Advance) -> Iterator[tuple[int, str]]:
        start, title, lines = 0, "", list[str]()
        for number, line in read_lines(self.path, problems, advance):
            # Asked first: of long lines of another kind the pattern takes quadratic time.
            opening = _OPENS.match(line) if line.endswith('">') else None
            if opening and start:
                problems.add("unfinished article", str(self.path), start, "no </doc>; left out")
            if opening:
                start, title, lines = number, opening[1], []
            elif line == "</doc>" and start:
                yield start, "\n".join(lines[1:] if lines[:1] == [title] else lines)
                start = 0
            elif start:
                lines.append(line)
            elif line.strip():
                problems.add("text outside an article", str(self.path), number, "line left out")
        if start:
            problems.add("unfinished article", str(self.path), start, "no </doc>; left out")
