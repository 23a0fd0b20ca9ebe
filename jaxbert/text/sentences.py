"""Documents cut into sentences with the `sentencex` library."""

from collections.abc import Iterator

import sentencex

# sentencex is quadratic in the length of text with unclosed quotation marks.
MAX_PIECE = 2**15
# sentencex takes white space for one byte in places and panics on the wider kinds; BERT's
# normalizer makes the same plain spaces of them. Line and paragraph separators stay breaks.
_PLAIN_SPACE = {
    **dict.fromkeys([0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " "),
    **dict.fromkeys([0x85, 0x2028, 0x2029], "\n"),
}


def split_sentences(text: str, language: str = "en") -> list[str]:
    """Sentences of a document in order, stripped of white space, none of them empty.

    `language` is an ISO 639 code; its abbreviations and quotation rules are used, and English ones
    where sentencex knows none. Text beyond 32768 characters is cut at line breaks, or else at white
    space, first.
    """
    if not text.isascii():
        text = text.translate(_PLAIN_SPACE)
    segments = (s for piece in pieces(text) for s in sentencex.segment(language, piece))
    return [sentence for segment in segments if (sentence := segment.strip())]


def pieces(text: str, limit: int = MAX_PIECE) -> Iterator[str]:
    """Text cut into at most `limit` characters: after a line break, else white space, else anywhere.

    The pieces joined are the text.
    """
    start = 0
    while len(text) - start > limit:
        end = start + limit
        # A separator in the first half would make many short pieces of one with few separators.
        middle = start + limit // 2
        cut = text.rfind("\n", middle, end)
        if cut < 0:
            cut = text.rfind(" ", middle, end)
        end = end if cut < 0 else cut + 1
        yield text[start:end]
        start = end
    yield text[start:]
