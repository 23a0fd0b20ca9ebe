"""The figures of `jaxbert inspect-tokenizer` as tables for a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from jaxbert.text.inspection.lengths import LengthFigures
from jaxbert.text.inspection.retrained import (
    WORTHWHILE_SAVING,
    WORTHWHILE_UNKNOWN,
    Comparison,
)
from jaxbert.text.inspection.tally import Inspection

_SHOWN = 10


def tables(
    name: str, figures: Inspection, comparison: Comparison | str, problems: Mapping[str, int]
) -> Iterator[RenderableType]:
    """What there is to print, from top to bottom."""
    # A line of its own: as the table's title a long path would be broken to the table's width.
    yield Text(f"{name} on {figures.rows:,} rows")
    yield _figures("text", [*_corpus(figures), *_words(figures)])
    yield _figures("lengths", _lengths(figures.lengths))
    yield Text(_length_advice(figures.lengths), style="bold")
    yield from _lists(figures)
    yield from _new_vocabulary(comparison)
    for kind, count in sorted(problems.items()):
        yield Text(f"{count:,} x {kind} in the sources")


def _corpus(figures: Inspection) -> Iterator[tuple[str, str]]:
    words = figures.words
    unused = figures.entries_never_used
    yield "characters", f"{figures.characters:,}"
    yield "words", f"{words.words:,} ({words.types:,} distinct)"
    yield "tokens without special ones", f"{figures.tokens:,}"
    yield "characters per token", _decimal(figures.characters_per_token)
    yield (
        "unknown tokens",
        f"{figures.unknown_tokens:,} ({_percent(figures.unknown_token_rate)})",
    )
    yield "words with unknown pieces", f"{words.unknown:,} ({_percent(words.unknown_rate)})"
    yield (
        "vocabulary entries never used",
        f"{unused:,} of {figures.entries:,} ({_percent(unused / max(figures.entries, 1))})",
    )


def _words(figures: Inspection) -> Iterator[tuple[str, str]]:
    words = figures.words
    yield "pieces per word", _decimal(words.mean_pieces)
    for pieces, share in words.distribution.items():
        if pieces != "unknown":
            unit = "piece" if pieces == "1" else "pieces"
            yield f"  words of {pieces} {unit}", _percent(share)
    yield "words that are one entry", _percent(words.kept_whole)
    yield "distinct words that are one entry", _percent(words.types_kept_whole)


def _lengths(lengths: LengthFigures) -> Iterator[tuple[str, str]]:
    yield f"mean, {lengths.special_tokens} special tokens included", f"{lengths.mean:,.1f}"
    for per_cent, length in lengths.percentiles.items():
        yield "longest" if per_cent == 100 else f"{per_cent}th percentile", f"{length:,}"
    for limit, share in lengths.truncated.items():
        yield f"truncated at {limit}", _percent(share)


def _length_advice(lengths: LengthFigures) -> str:
    cut = _percent(lengths.truncated_at_recommended)
    if lengths.is_capped:
        remedy = "; overlapping windows or more positions (jaxbert adapt --positions) keep them"
        return (
            f"recommended maximum length: {lengths.recommended}, all that the model takes, which"
            f" truncates {cut} of the rows{remedy if lengths.truncated_at_recommended else ''}"
        )
    usual = "" if lengths.next_usual is None else f"; the next usual length is {lengths.next_usual}"
    return (
        f"recommended maximum length: {lengths.recommended}, the 95th percentile rounded up to a"
        f" multiple of 8, which truncates {cut} of the rows{usual}"
    )


def _lists(figures: Inspection) -> Iterator[RenderableType]:
    words = figures.words
    if words.most_split:
        table = Table("word", "count", "pieces", "extra tokens", title="split most")
        _right(table, 1, 3)
        for split in words.most_split[:_SHOWN]:
            pieces = Text(" ".join(split.pieces))
            table.add_row(Text(split.word), f"{split.count:,}", pieces, f"{split.extra_tokens:,}")
        yield table
    for title, found in (
        ("unknown words", words.most_unknown),
        ("unknown characters", figures.unknown_characters),
    ):
        if found:
            yield Text(f"{title}: {_counted(found[:_SHOWN])}")


def _new_vocabulary(comparison: Comparison | str) -> Iterator[RenderableType]:
    if isinstance(comparison, str):
        yield Text(f"new vocabulary: not compared ({comparison})")
        return
    rows = [
        ("entries", f"{comparison.vocab_size:,}"),
        ("learnt from characters", f"{comparison.training_characters:,}"),
        ("judged on documents", f"{comparison.held_out_documents:,}"),
        ("tokens of the present vocabulary", f"{comparison.current_tokens:,}"),
        ("tokens of the new one", f"{comparison.new_tokens:,}"),
        ("fewer tokens", _percent(comparison.saving)),
        ("unknown tokens, present", _percent(comparison.current_unknown_rate)),
        ("unknown tokens, new", _percent(comparison.new_unknown_rate)),
    ]
    yield _figures("a new vocabulary of the same kind", rows)
    yield Text(_vocabulary_advice(comparison), style="bold")


def _vocabulary_advice(comparison: Comparison) -> str:
    threshold = (
        f"{WORTHWHILE_SAVING:.0%} fewer tokens, or {WORTHWHILE_UNKNOWN:.0%} fewer that are unknown"
    )
    if comparison.pays:
        return (
            f"a new vocabulary would pay (from {threshold}) if you pretrain further with it:"
            " jaxbert prepare --vocab-size, jaxbert adapt --tokenizer, jaxbert pretrain"
        )
    return (
        f"keep this vocabulary: a new one pays from {threshold}, as it has to be learnt by"
        " pretraining again; for a few words, jaxbert adapt --add-tokens"
    )


def _figures(title: str, rows: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> Table:
    table = Table("figure", "value", title=Text(title))
    _right(table, 1)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _right(table: Table, *columns: int) -> None:
    for column in columns:
        table.columns[column].justify = "right"


def _counted(found: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{text!r} {count:,}" for text, count in found)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.2%}"


def _decimal(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
