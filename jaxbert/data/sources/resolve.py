"""From what the user writes on the command line to sources."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Literal

from jaxbert.data.compression import first_bytes
from jaxbert.data.sources.docs import Docs
from jaxbert.data.sources.document import Source
from jaxbert.data.sources.fasta import FASTA, FastaFile
from jaxbert.data.sources.rows import TableRows
from jaxbert.data.sources.text import TextFile
from jaxbert.data.sources.wikipedia import WikiDump, WikiExtract, is_extracted
from jaxbert.data.tables import (
    DATA_SETS,
    existing_file,
    file_kind,
    holds_objects,
    is_pattern,
    is_table,
    matching,
    named_rows,
)
from jaxbert.errors import UserError

Sentences = Literal["split", "lines"]
_KINDS = (
    ".txt, .jsonl, .csv, .tsv, .fasta, .fa, .faa, .xml of MediaWiki (each also .gz, .xz, .bz2 or"
    " .zst), wiki_NN of WikiExtractor, .parquet, a directory of datasets' save_to_disk,"
    " hf:NAME[/CONFIG][:SPLIT], tfds:NAME[/CONFIG][:SPLIT] or docs:[PACKAGE,...]"
)


@dataclass(frozen=True)
class SourceOptions:
    """How sources are read, beside what they are."""

    text_column: str = "text"
    sentences: Sentences = "split"
    limit_bytes: int | None = None


def resolve_sources(specs: Sequence[str], options: SourceOptions) -> list[Source]:
    """The sources of all specifications in order; a glob gives its files in sorted order.

    A UserError where two of them are one, or share packages: documents would be there twice.
    """
    sources: list[Source] = []
    names: dict[Path | str, str] = {}
    for spec in specs:
        for source in _resolve(spec, options):
            name = _name(source, spec)
            for part in _parts(source):
                if part in names:
                    raise UserError(
                        f"{name}: gives documents that {names[part]} gives, so that they would be"
                        " there twice; name them once (stores can have weights, to train on some"
                        " more often)"
                    )
                names[part] = name
            sources.append(source)
    return sources


def _parts(source: Source) -> Iterable[Path | str]:
    """What a source is made of, equal where the documents are."""
    if isinstance(source, Docs):
        return source.names()
    if isinstance(source, TableRows) and source.path is None:
        return [named_rows(source.spec)]
    assert source.path is not None, source
    return [source.path.resolve()]


def _name(source: Source, spec: str) -> str:
    return spec if source.path is None or str(source.path) == spec else f"{source.path} ({spec})"


def _resolve(spec: str, options: SourceOptions) -> Iterator[Source]:
    if spec.startswith("docs:"):
        names = tuple(filter(None, spec.removeprefix("docs:").split(",")))
        yield Docs(names or None, options.limit_bytes)
    elif spec.startswith(DATA_SETS):
        yield TableRows(spec, options.text_column)
    else:
        for path in _paths(spec):
            yield _file(path, options)


def _paths(spec: str) -> list[Path]:
    if is_pattern(spec):
        return matching(spec)
    path = Path(expanduser(spec))
    scheme = spec.partition(":")[0]
    if ":" in spec and scheme.isidentifier() and not path.exists():
        raise UserError(f"{spec}: unknown kind of source {scheme}:; expected {_KINDS}")
    return [existing_file(path)]


def _file(path: Path, options: SourceOptions) -> Source:
    kind = file_kind(path) if path.is_file() else None
    if kind == ".txt":
        return TextFile(path, "\n" if options.sentences == "lines" else " ")
    if kind in FASTA:
        return FastaFile(path)
    if kind == ".xml":
        return WikiDump(path)
    # WikiExtractor gives its files no suffix that tells their two forms apart.
    if kind == "" and first_bytes(path, 5) == b"<doc ":
        return WikiExtract(path, is_json=False)
    if holds_objects(path) and is_extracted(path):
        return WikiExtract(path, is_json=True)
    if holds_objects(path) or is_table(str(path)):
        return TableRows(str(path), options.text_column)
    if path.is_dir():
        raise UserError(f"{path}: a directory; name its files by a pattern: '{path}/*.txt'")
    raise UserError(f"{path}: unknown kind of source; expected {_KINDS}")
