"""Input of which every record counts: which problems stop it, and which are warned of once."""

import logging
from collections.abc import Iterator
from pathlib import Path

from jaxbert.data.lines import read_lines
from jaxbert.data.problems import Problems
from jaxbert.errors import UserError

log = logging.getLogger(__name__)

NOT_UTF8 = "invalid UTF-8"
_REPLACED = "read with U+FFFD in its place"
_WARNED_OF = {
    NOT_UTF8: _REPLACED,
    "invalid Unicode": _REPLACED,
    "quoted field": "quotes are ordinary characters in .tsv, and were kept: write the file without "
    "them, or as .csv",
}
"""Problems that leave in a text what its author did not mean."""

HARMLESS = frozenset({*_WARNED_OF, "long line"})
"""Problems that leave a row usable; with any other it would be missing."""


def whole_lines(file: Path, *, labelled: bool) -> Iterator[tuple[int, str]]:
    """`read_lines` where every line counts: with labels what is not UTF-8 is a UserError."""
    problems = Problems()
    for number, line in read_lines(file, problems):
        if labelled:
            check_is_utf8(problems)
        yield number, line
    warn_of_kept(problems)


def check_is_utf8(problems: Problems) -> None:
    """Raises UserError for another encoding: a model would learn, or be judged on, U+FFFD."""
    problem = problems.first.get(NOT_UTF8)
    if problem is not None:
        raise UserError(
            f"{problem.place}: not UTF-8; convert the file (iconv -f cp1252 -t utf-8, if it is "
            "from Windows)"
        )


def check_is_not_empty(count: int, what: str, place: str, *, labelled: bool) -> None:
    """Of none of these: a UserError with labels; without, a warning, as a pipeline goes on."""
    if count:
        return
    if labelled:
        raise UserError(f"{place}: no {what}")
    log.warning("%s: no %s: nothing is predicted", place, what)


def warn_of_kept(problems: Problems) -> None:
    """One warning for each kind of problem after which a text may not be what was meant."""
    for kind, outcome in _WARNED_OF.items():
        if kind in problems.first:
            log.warning(
                "%s: %s in %d lines, this one the first: %s",
                *(problems.first[kind].place, kind, problems.counts[kind], outcome),
            )
