"""HTML in which every text is escaped unless it is markup made here."""

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """HTML that was made by `element`; any other text is escaped when it becomes part of some."""

    __slots__ = ()


Content = str | None
_VOID = ("meta",)
"""What has nothing inside."""


def element(tag: str, *content: Content, **attributes: object) -> Markup:
    """`class_` is the attribute class, and another _ in a name is a hyphen; None is left out."""
    written = (
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    start = f"<{tag}{''.join(written)}"
    return Markup(f"{start}/>" if tag in _VOID else f"{start}>{joined(content)}</{tag}>")


def joined(content: Iterable[Content], between: str = "") -> Markup:
    """Pieces of markup and of text one after the other."""
    texts = (text for text in content if text is not None)
    return Markup(between.join(t if isinstance(t, Markup) else escape(t) for t in texts))


def table(
    columns: Sequence[Content], rows: Iterable[Sequence[Content]], *, texts: int = 1
) -> Markup:
    """A table that scrolls where it is too wide; all but the first `texts` columns are numbers."""

    def kind(place: int) -> str | None:
        return None if place < texts else "n"

    def line(cells: Sequence[Content]) -> Markup:
        return element(
            "tr", *(element("td", cell, class_=kind(place)) for place, cell in enumerate(cells))
        )

    head = (element("th", name, class_=kind(place)) for place, name in enumerate(columns))
    body = element("tbody", *map(line, rows))
    whole = element("table", element("thead", element("tr", *head)), body)
    return element("div", whole, class_="wide")


def section(title: str, *content: Content) -> Markup:
    """What stands under a heading."""
    return element("section", element("h2", title), *content)


def folded(title: str, *content: Content) -> Markup:
    """What is shown when it is asked for."""
    return element("details", element("summary", title), *content)
