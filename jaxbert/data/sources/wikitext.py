"""MediaWiki's markup to the text that a reader sees, with the library mwparserfromhell."""

import mimetypes
import re
from collections.abc import Callable, Collection
from typing import Any

from jaxbert.errors import UserError

# The library shows what stands in these; an article's running text has neither.
_HIDDEN_TAGS = {"ref", "references", "table", "gallery"}
# As __NOTOC__ or __KEIN_INHALTSVERZEICHNIS__, which the library takes for text.
_SWITCH = re.compile(r"__[^\W\d_]+(?:_[^\W\d_]+)*__")


PlainText = Callable[[str], str]


def plain_text(namespaces: Collection[str]) -> PlainText:
    """A function from markup to text; links into these namespaces (files, categories) are left out.

    Templates, tables, references and comments are left out, too; of links and headings their text
    stays. Blank lines are taken out. The function raises ValueError for markup that the library
    cannot take apart.
    """
    try:
        import mwparserfromhell
        from mwparserfromhell.parser import ParserError
    except ModuleNotFoundError:
        raise UserError(
            "MediaWiki dumps: needs the package mwparserfromhell; install jaxbert[corpus]"
        ) from None
    hidden = {name.casefold() for name in namespaces}

    def strip(markup: str) -> str:
        try:
            code = mwparserfromhell.parse(_SWITCH.sub(_but_capitals, markup))
            _drop(code, hidden)
        except (ParserError, RecursionError) as error:
            raise ValueError(f"mwparserfromhell: {error}") from None
        lines = map(str.strip, code.strip_code().split("\n"))
        return "\n".join(line for line in lines if line)

    return strip


def _but_capitals(found: re.Match[str]) -> str:
    """Nothing for a switch; what is not all in capitals is text, such as __init__."""
    return "" if found[0].isupper() else found[0]


def _is_media(name: str) -> bool:
    """Whether this is a file; dumps do not tell the older names of the files' namespace."""
    kind, _ = mimetypes.guess_type(name.strip())
    return kind is not None and kind.startswith(("image/", "audio/", "video/"))


def _drop(code: Any, hidden: Collection[str]) -> None:
    from mwparserfromhell.nodes import ExternalLink, Heading, Tag, Wikilink

    code.nodes = [node for node in code.nodes if not _is_hidden(node, hidden)]
    for node in code.nodes:
        inside = None
        if isinstance(node, Tag):
            inside = node.contents
        elif isinstance(node, Wikilink):
            inside = node.text
        elif isinstance(node, Heading | ExternalLink):
            inside = node.title
        if inside is not None:
            _drop(inside, hidden)


def _is_hidden(node: Any, hidden: Collection[str]) -> bool:
    from mwparserfromhell.nodes import Tag, Wikilink

    if isinstance(node, Tag):
        return str(node.tag).strip().lower() in _HIDDEN_TAGS
    if isinstance(node, Wikilink):
        # A link that begins with a colon shows its text instead of the file; one without any colon
        # leads to an article, such as that on images.
        namespace, colon, name = str(node.title).partition(":")
        if not colon:
            return False
        return namespace.strip().casefold() in hidden or bool(namespace and _is_media(name))
    return False
