"""A share of the labelled rows, held out of training."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jaxbert.data.digests import text_digest
from jaxbert.data.squad import Question
from jaxbert.data.tagged import TaggedSentence
from jaxbert.errors import UserError


def divided(
    records: Sequence[Any], fraction: float, inputs: Sequence[str]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Those to train on and those held out, each in their order.

    `inputs`: the columns that a row is read from. Rows of equal input, sentences of equal words and
    questions about one context stay together. Which are held out hangs on their text alone,
    neither on their order nor on a seed: `fraction` of all, rounded, or as few more as it takes.

    Raises UserError where nothing would be left to train on.
    """
    digests = [text_digest(_text(record, inputs)) for record in records]
    wanted = max(1, round(fraction * len(records)))
    held_out: set[int] = set()
    number = 0
    for digest, count in sorted(Counter(digests).items()):
        if number >= wanted:
            break
        held_out.add(digest)
        number += count
    if number == len(records):
        raise UserError(
            f"validation_fraction={fraction}: of {number} rows none would be left to train on "
            "(rows of equal input stay together): give a validation file, or leave it out"
        )
    apart = [digest in held_out for digest in digests]
    return (
        tuple(record for record, out in zip(records, apart, strict=True) if not out),
        tuple(record for record, out in zip(records, apart, strict=True) if out),
    )


def _text(record: Any, inputs: Sequence[str]) -> str:
    """What tells a record's input from another."""
    if isinstance(record, Question):
        return record.context
    if isinstance(record, TaggedSentence):
        return repr(record.words)
    return repr([record.values.get(name) for name in inputs])
