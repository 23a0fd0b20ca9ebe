"""Sources read for `jaxbert inspect-tokenizer`: as documents, or as rows of labelled tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxbert.data.lines import Advance, no_advance
from jaxbert.data.problems import LEFT_OUT, Problems
from jaxbert.data.sources.beginning import up_to
from jaxbert.data.sources.document import Source, utf8_size
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.data.sources.rows import TableRows
from jaxbert.data.tables import read_rows
from jaxbert.data.vocabulary_training import total_size
from jaxbert.data.watch import Unwatched, Watch
from jaxbert.errors import UserError
from jaxbert.text.inspection.sample import Sample
from jaxbert.text.inspection.tally import Tally
from jaxbert.text.tokenizer import Tokenizer

_CHUNK_BYTES = 2**19
_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class InspectionOptions:
    """What is read: `text_pair_column` is for tables only; `limit_bytes` of text (UTF-8) at most.

    `sample_characters` bounds the sample that a new vocabulary is trained on; 0: none is taken.
    """

    text_column: str = "text"
    text_pair_column: str | None = None
    limit_bytes: int | None = None
    sample_characters: int = 0


class Inspected(NamedTuple):
    """What reading the sources left behind."""

    tally: Tally
    sample: Sample
    problems: Problems


class _Row(NamedTuple):
    text: str
    pair: str | None


def inspect_sources(
    tokenizer: Tokenizer,
    specs: Sequence[str],
    options: InspectionOptions,
    watch: Watch | None = None,
) -> Inspected:
    """Counts every row of the sources, in memory that does not grow with their size."""
    watch = Unwatched() if watch is None else watch
    reading = SourceOptions(options.text_column, limit_bytes=options.limit_bytes)
    sources = resolve_sources(specs, reading)
    is_pairs = options.text_pair_column is not None
    found = Inspected(
        Tally(tokenizer, pairs=is_pairs), Sample(options.sample_characters), Problems()
    )
    # With a limit the text that was read tells how far it is, without one the files do.
    watch.start("text", options.limit_bytes or total_size(sources))
    advance = watch.advance if options.limit_bytes is None else no_advance
    rows = _rows(sources, options, found.problems, advance)
    for chunk, size in _chunks(up_to(options.limit_bytes, rows, _size)):
        texts = [row.text for row in chunk]
        found.tally.add(texts, [row.pair or "" for row in chunk] if is_pairs else None)
        if options.sample_characters:
            for row in chunk:
                found.sample.add(row.text if row.pair is None else f"{row.text}\n{row.pair}")
        # They are counted; nobody asks for each of them.
        found.problems.take()
        watch.took(size)
        if options.limit_bytes is not None:
            watch.advance(size)
    if not found.tally.rows:
        raise UserError(f"{' '.join(specs)}: no text in there")
    return found


def _chunks(rows: Iterator[_Row]) -> Iterator[tuple[list[_Row], int]]:
    """Rows some hundred thousand bytes of text at a time, with the number of these."""
    chunk: list[_Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += _size(row)
        if size >= _CHUNK_BYTES or len(chunk) >= _CHUNK_ROWS:
            yield chunk, size
            chunk, size = [], 0
    if chunk:
        yield chunk, size


def _size(row: _Row) -> int:
    return utf8_size(row.text) + utf8_size(row.pair or "")


def _rows(
    sources: Sequence[Source], options: InspectionOptions, problems: Problems, advance: Advance
) -> Iterator[_Row]:
    for source in sources:
        if options.text_pair_column is not None:
            yield from _pairs(source, options.text_pair_column, problems, advance)
        else:
            for document in source.read(problems, advance):
                yield _Row(document.text, None)


def _pairs(source: Source, pair: str, problems: Problems, advance: Advance) -> Iterator[_Row]:
    if not isinstance(source, TableRows):
        raise UserError(f"--text-pair-column {pair}: needs tables; leave other sources out")
    columns = [source.column, pair]
    rows = read_rows(
        source.spec, columns=columns, problems=problems, advance=advance, streaming=True
    )
    for row in rows:
        texts = [row.values[name] for name in columns]
        if all(isinstance(text, str) for text in texts):
            yield _Row(*texts)
        else:
            detail = f"{' or '.join(columns)} is not a string{LEFT_OUT}"
            problems.add("not a string", row.file, row.line, detail)
