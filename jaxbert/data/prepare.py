"""From sources to a token store: the work behind `jaxbert prepare`."""

import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from jaxbert.data.encode import DocumentEncoder, EncodedDocuments, encode_chunks
from jaxbert.data.lines import Advance
from jaxbert.data.partial import check_destination
from jaxbert.data.problems import Problem, Problems
from jaxbert.data.sources.document import Document, Source
from jaxbert.data.sources.resolve import Sentences, SourceOptions, resolve_sources
from jaxbert.data.writer import StoreWriter
from jaxbert.errors import UserError
from jaxbert.text.sentences import pieces
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

_CHUNK_CHARACTERS = 2**19
_CHUNK_DOCUMENTS = 4096
_TRAINING_PIECE = 2**20
PROBLEMS = "problems.jsonl"
TokenizerKind = Literal["wordpiece", "byte_level_bpe", "unigram"]


@dataclass(frozen=True)
class PrepareOptions:
    """How a corpus becomes a store. Exactly one of `tokenizer` and `vocab_size` is given.

    `tokenizer_kind` is of what is trained (None: wordpiece). `lowercase` is for a trained
    vocabulary (None: lowercase, where the kind can) or a bare vocab.txt; `limit_bytes` bounds
    `docs:`; `processes=None` means one a core.
    """

    tokenizer: str | None = None
    vocab_size: int | None = None
    tokenizer_kind: TokenizerKind | None = None
    lowercase: bool | None = None
    text_column: str = "text"
    language: str = "en"
    sentences: Sentences = "split"
    limit_bytes: int | None = None
    processes: int | None = None
    overwrite: bool = False


class Watch(Protocol):
    """Somebody who is told how far the work has come."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; `total` is what all that `advance` gets will add up to, if known."""

    def advance(self, amount: int) -> None:
        """So much more of the stage's total has been read (bytes on disk of a file)."""

    def took(self, text_bytes: int) -> None:
        """So much more text went through the stage."""


class Unwatched:
    """A `Watch` that does not care."""

    def start(self, stage: str, total: int | None) -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""

    def took(self, text_bytes: int) -> None:
        """Nothing."""


@dataclass
class Summary:
    """What a store was made of; `text_bytes` is UTF-8, `unknown` counts [UNK]."""

    vocab_size: int
    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    text_bytes: int = 0
    unknown: int = 0
    problems: Problems = field(default_factory=Problems)


def prepare(
    specs: Sequence[str],
    out: str | Path,
    options: PrepareOptions,
    watch: Watch | None = None,
) -> Summary:
    """Make a token store at `out` from sources, as the README describes them.

    The bytes of the store depend on the sources and the options other than `processes` alone. An
    interrupted run leaves nothing that opens as a store. What is malformed in the input is in
    `problems.jsonl` within the store and counted in the summary; what cannot be read at all, or
    options that contradict each other, are a UserError.
    """
    watch = Unwatched() if watch is None else watch
    _check(specs, options)
    check_destination(Path(out), options.overwrite)
    reading = SourceOptions(options.text_column, options.sentences, options.limit_bytes)
    sources = resolve_sources(specs, reading)
    tokenizer = _tokenizer(sources, options, watch)
    size = tokenizer.vocab_size
    with StoreWriter(out, vocab_size=size, overwrite=options.overwrite) as writer:
        save_tokenizer(tokenizer, writer.directory / "tokenizer")
        with open(writer.directory / PROBLEMS, "w", encoding="utf-8") as log:
            summary = Summary(size, problems=Problems(log))
            _write(sources, tokenizer, options, writer, summary, watch)
        if not summary.tokens:
            raise UserError(_nothing(specs, summary.problems))
        writer.finish(_description(specs, options, summary))
    return summary


def _check(specs: Sequence[str], options: PrepareOptions) -> None:
    if not specs:
        raise UserError("prepare: no source given; name at least one file, hub:NAME or docs:")
    if (options.tokenizer is None) == (options.vocab_size is None):
        state = "neither" if options.tokenizer is None else "both"
        raise UserError(
            f"prepare: {state} of --tokenizer and --vocab-size given; name a tokenizer to use,"
            " or the size of a vocabulary to train"
        )
    if options.tokenizer is not None and options.tokenizer_kind is not None:
        raise UserError("prepare: --tokenizer-kind is of a tokenizer to train; drop --tokenizer")
    if options.tokenizer_kind == "byte_level_bpe" and options.lowercase:
        raise UserError("prepare: byte_level_bpe keeps case; drop --lowercase")
    if options.processes is not None and options.processes < 1:
        raise UserError(f"prepare: --processes {options.processes}; expected at least 1")


def _tokenizer(sources: Sequence[Source], options: PrepareOptions, watch: Watch) -> Tokenizer:
    if options.tokenizer is not None:
        return load_tokenizer(options.tokenizer, lowercase=options.lowercase)
    assert options.vocab_size is not None
    if options.tokenizer_kind == "byte_level_bpe":
        return train_byte_level_bpe(
            _TrainingTexts(sources, watch, "vocabulary"), options.vocab_size
        )
    texts = _TrainingTexts(sources, watch, "characters", "vocabulary")
    train = train_unigram if options.tokenizer_kind == "unigram" else train_wordpiece
    return train(texts, options.vocab_size, lowercase=options.lowercase is not False)


class _TrainingTexts:
    """The text of all sources, gone through once for each stage."""

    def __init__(self, sources: Sequence[Source], watch: Watch, *stages: str):
        self._sources, self._watch = sources, watch
        self._stages = iter(stages)

    def __iter__(self) -> Iterator[str]:
        self._watch.start(next(self._stages), _total(self._sources))
        # Problems are counted when the store is written.
        for document in _documents(self._sources, Problems(), self._watch.advance):
            yield from pieces(document.text, _TRAINING_PIECE)
            self._watch.took(_utf8_size([document.text]))


class _Origins(NamedTuple):
    """What the parent keeps of a chunk while its text is away."""

    places: list[tuple[str, int]]
    text_bytes: int
    problems: list[Problem]


def _write(
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    options: PrepareOptions,
    writer: StoreWriter,
    summary: Summary,
    watch: Watch,
) -> None:
    watch.start("tokens", _total(sources))
    encoder = DocumentEncoder(tokenizer, options.language, options.sentences)
    processes = options.processes or os.cpu_count() or 1
    chunks = _chunks(sources, watch.advance)
    for origins, encoded in encode_chunks(chunks, encoder, processes):
        _append(origins, encoded, writer, summary)
        watch.took(origins.text_bytes)


def _append(
    origins: _Origins, encoded: EncodedDocuments, writer: StoreWriter, summary: Summary
) -> None:
    summary.problems.extend(origins.problems)
    for index in np.flatnonzero(encoded.document_lengths == 0):
        file, line = origins.places[index]
        summary.problems.add("empty document", file, line, "no tokens in its text")
    lengths = encoded.document_lengths[encoded.document_lengths > 0]
    writer.append_arrays(encoded.tokens, encoded.sentence_lengths, lengths)
    summary.documents += len(lengths)
    summary.sentences += len(encoded.sentence_lengths)
    summary.tokens += len(encoded.tokens)
    summary.text_bytes += origins.text_bytes
    summary.unknown += encoded.unknown


def _chunks(sources: Sequence[Source], advance: Advance) -> Iterator[tuple[_Origins, list[str]]]:
    """Documents some hundred thousand characters at a time, with the problems met among them.

    The problems travel with the chunk, so their order does not depend on how many are under way.
    """
    problems = Problems()
    texts: list[str] = []
    places: list[tuple[str, int]] = []
    size = 0
    for document in _documents(sources, problems, advance):
        texts.append(document.text)
        places.append((document.file, document.line))
        size += len(document.text)
        if size >= _CHUNK_CHARACTERS or len(texts) >= _CHUNK_DOCUMENTS:
            yield _Origins(places, _utf8_size(texts), problems.take()), texts
            texts, places, size = [], [], 0
    yield _Origins(places, _utf8_size(texts), problems.take()), texts


def _documents(
    sources: Sequence[Source], problems: Problems, advance: Advance
) -> Iterator[Document]:
    for source in sources:
        yield from source.read(problems, advance)


def _utf8_size(texts: Sequence[str]) -> int:
    return sum(len(text) if text.isascii() else len(text.encode()) for text in texts)


def _total(sources: Sequence[Source]) -> int | None:
    sizes = [source.size for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _nothing(specs: Sequence[str], problems: Problems) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in problems.counts.items())
    return f"{' '.join(specs)}: no text in there" + (f" (problems: {found})" if found else "")


def _description(specs: Sequence[str], options: PrepareOptions, summary: Summary) -> dict[str, Any]:
    kept = {k: v for k, v in asdict(options).items() if k not in ("processes", "overwrite")}
    libraries = ("jaxbert", "tokenizers", "sentencex")
    return {
        "sources": list(specs),
        "options": kept,
        "text_bytes": summary.text_bytes,
        "unknown_tokens": summary.unknown,
        "problems": dict(sorted(summary.problems.counts.items())),
        "made_with": {name: importlib.metadata.version(name) for name in libraries},
    }
