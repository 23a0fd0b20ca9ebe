"""Which documents are worth training on: rules on lengths, words, lines and script."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from jaxbert.data.sources.document import Document
from jaxbert.errors import UserError

_ELLIPSES = ("...", "…")
_BULLETS = ("•", "*", "-")


@dataclass(frozen=True)
class QualityConfig:
    """Limits that a document must keep; None is no limit.

    A word is what white space ends. The `_share` fields are between 0 and 1. Lines that are blank
    do not count, and of equal lines the first is no duplicate.
    """

    min_characters: int | None = None
    max_characters: int | None = None
    min_words: int | None = None
    max_words: int | None = None
    min_mean_word_length: float | None = None
    max_mean_word_length: float | None = None
    max_symbols_per_word: float | None = None
    """Of "#" and of ellipses, each."""
    min_alphabetic_word_share: float | None = None
    """Words with at least one letter."""
    max_bullet_line_share: float | None = None
    max_ellipsis_line_share: float | None = None
    max_duplicate_line_share: float | None = None
    max_duplicate_character_share: float | None = None
    """Characters in duplicate lines, of all characters."""
    scripts: tuple[str, ...] = ()
    """Unicode's names, such as Latin; several where a language is written in them together."""
    min_script_share: float | None = None
    """Letters of `scripts`, of all letters."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and value is not None and not 0 <= value <= 1:
                raise UserError(f"quality: {field.name} is {value}; expected a share from 0 to 1")
        for name in ("characters", "words", "mean_word_length"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low > high:
                raise UserError(f"quality: min_{name} is {low}, above max_{name}, {high}")
        if bool(self.scripts) != (self.min_script_share is not None):
            raise UserError("quality: scripts and min_script_share need each other; give both")


GOPHER = QualityConfig(
    min_words=50,
    max_words=100_000,
    min_mean_word_length=3,
    max_mean_word_length=10,
    max_symbols_per_word=0.1,
    min_alphabetic_word_share=0.8,
    max_bullet_line_share=0.9,
    max_ellipsis_line_share=0.3,
    max_duplicate_line_share=0.3,
    max_duplicate_character_share=0.2,
)
"""The values of Rae et al. 2021 (Gopher), section A.1.1 and table A1.

Its rules on English stop words, on duplicate paragraphs and on repeated n-grams are not here.
"""


class Quality:
    """A filter for documents that break a limit; it remembers nothing between calls."""

    def __init__(self, config: QualityConfig) -> None:
        self._limits = config
        self._foreign = _foreign_letters(config.scripts) if config.scripts else None

    def __call__(self, document: Document) -> str | None:
        """Why the document is to be dropped, or None."""
        text = document.text
        words = text.split()
        return (
            self._of_length(len(text), len(words))
            or self._of_words(text, words)
            or self._of_lines(text, document.lines or text.split("\n"))
            or self._of_script(text)
        )

    def _of_length(self, characters: int, words: int) -> str | None:
        limits = self._limits
        if _below(characters, limits.min_characters) or _below(words, limits.min_words):
            return "too short"
        if _above(characters, limits.max_characters) or _above(words, limits.max_words):
            return "too long"
        return None

    def _of_words(self, text: str, words: Sequence[str]) -> str | None:
        limits, count = self._limits, len(words)
        length = sum(map(len, words))
        if _below(length, limits.min_mean_word_length, count):
            return "short words"
        if _above(length, limits.max_mean_word_length, count):
            return "long words"
        symbols = max(text.count("#"), sum(map(text.count, _ELLIPSES)))
        if _above(symbols, limits.max_symbols_per_word, count):
            return "many symbols"
        if limits.min_alphabetic_word_share is not None:
            alphabetic = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words)
            if _below(alphabetic, limits.min_alphabetic_word_share, count):
                return "few words with letters"
        return None

    def _of_lines(self, text: str, lines: Sequence[str]) -> str | None:
        limits = self._limits
        lines = [line for line in map(str.strip, lines) if line]
        count, distinct = len(lines), set(lines)
        bullets = sum(line.startswith(_BULLETS) for line in lines)
        if _above(bullets, limits.max_bullet_line_share, count):
            return "mostly bullet points"
        ellipses = sum(line.endswith(_ELLIPSES) for line in lines)
        if _above(ellipses, limits.max_ellipsis_line_share, count):
            return "many lines cut off"
        repeated = sum(map(len, lines)) - sum(map(len, distinct))
        if _above(count - len(distinct), limits.max_duplicate_line_share, count) or _above(
            repeated, limits.max_duplicate_character_share, len(text)
        ):
            return "duplicate lines"
        return None

    def _of_script(self, text: str) -> str | None:
        if self._foreign is None:
            return None
        letters = sum(map(str.isalpha, text))
        own = letters - len(self._foreign.findall(text))
        # A text without any letter has none of the script either.
        is_other = _below(own, self._limits.min_script_share, max(letters, 1))
        return "other script" if is_other else None


def _below(value: int, limit: float | None, of: int = 1) -> bool:
    return limit is not None and value < limit * of


def _above(value: int, limit: float | None, of: int = 1) -> bool:
    return limit is not None and value > limit * of


def _foreign_letters(scripts: Sequence[str]) -> Any:
    """A pattern for one letter of any other script."""
    try:
        import regex
    except ModuleNotFoundError:
        raise UserError(
            "quality: scripts needs the package regex; install jaxbert[corpus]"
        ) from None
    for script in scripts:
        try:
            regex.compile(rf"\p{{Script={script}}}")
        except regex.error:
            raise UserError(
                f"quality: no script {script!r}; expected one of Unicode's: Latin, Cyrillic, Han"
            ) from None
    # Extensions: what several scripts share, as Katakana's ー and Arabic's tatweel, has none alone.
    own = "".join(rf"\p{{Script_Extensions={script}}}" for script in scripts)
    return regex.compile(rf"(?V1)[\p{{L}}--[{own}]]")
