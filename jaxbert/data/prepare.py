"""From sources to a token store: the work behind `jaxbert prepare`."""

import importlib.metadata
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxbert.data.chunks import read_chunks
from jaxbert.data.encode import DocumentEncoder, encode_chunks
from jaxbert.data.filters import NO_FILTERS, Examiner, Filters
from jaxbert.data.partial import PartialStore, check_destination, is_unfinished
from jaxbert.data.parts import Part, Share, sources_digest
from jaxbert.data.problems import Problems
from jaxbert.data.progress import Progress, Summary
from jaxbert.data.sources.beginning import Beginning
from jaxbert.data.sources.document import Source
from jaxbert.data.sources.resolve import Sentences, SourceOptions, resolve_sources
from jaxbert.data.store import TOKENIZER, tokenizer_fingerprint
from jaxbert.data.vocabulary_training import VocabularyConfig, total_size, train_on_sources
from jaxbert.data.watch import Unwatched, Watch
from jaxbert.data.writer import SHARD_TOKENS, StoreWriter
from jaxbert.errors import UserError
from jaxbert.text.languages import check_language
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from jaxbert.text.training import TokenizerFamily, TokenizerKind

_MOST_SHARD_TOKENS = 2**31
_LIBRARIES = ("jaxbert", "tokenizers", "sentencex")


@dataclass(frozen=True)
class PrepareOptions:
    """How a corpus becomes a store. Exactly one of `tokenizer` and `vocab_size` is given.

    `tokenizer_kind`, `tokenizer_family` and `vocabulary_sample_bytes` are of what is trained
    (`VocabularyConfig`), `lowercase` of that or of a bare vocab.txt; of the text of all
    sources together the first `limit_bytes` are read, of `docs:` as many from all packages alike;
    `processes=None` means one a core (each of several imports the script that calls `prepare`,
    which so needs `if __name__ == "__main__":`); `part` is what this host does of the whole.
    """

    tokenizer: str | None = None
    vocab_size: int | None = None
    tokenizer_kind: TokenizerKind | None = None
    tokenizer_family: TokenizerFamily | None = None
    vocabulary_sample_bytes: int | None = None
    lowercase: bool | None = None
    text_column: str = "text"
    language: str = "en"
    sentences: Sentences = "split"
    limit_bytes: int | None = None
    filters: Filters = NO_FILTERS
    shard_tokens: int = SHARD_TOKENS
    part: Part | None = None
    processes: int | None = None
    overwrite: bool = False

    @property
    def vocabulary(self) -> VocabularyConfig | None:
        """What is to be trained."""
        if self.vocab_size is None:
            return None
        return VocabularyConfig(
            self.vocab_size,
            self.tokenizer_kind,
            self.tokenizer_family,
            self.lowercase,
            self.vocabulary_sample_bytes,
        )


def prepare(
    specs: Sequence[str],
    out: str | Path,
    options: PrepareOptions,
    watch: Watch | None = None,
) -> Summary:
    """Make a token store at `out` from sources, as docs/sources.md names them.

    The bytes of the store depend on the sources and the options other than `processes` alone. An
    interrupted run leaves nothing that opens as a store; the same call goes on with its last
    finished shard. What is malformed in the input, and what was dropped, is in `problems.jsonl`
    within the store and counted in the summary; what cannot be read at all, or options that
    contradict each other, are a UserError.
    """
    watch = Unwatched() if watch is None else watch
    _check(specs, options)
    check_destination(Path(out), options.overwrite or is_unfinished(Path(out)))
    reading = SourceOptions(options.text_column, options.sentences, options.limit_bytes)
    named = resolve_sources(specs, reading)
    limit = options.limit_bytes
    sources = named if limit is None else [Beginning(tuple(named), limit)]
    given = None
    if options.tokenizer is not None:
        given = load_tokenizer(options.tokenizer, lowercase=options.lowercase)
    made_of = _made_of(specs, named, options)
    key = made_of | {
        "sources": sources_digest(named, with_times=True),
        "tokenizer": None if given is None else _fingerprint(given),
    }
    with PartialStore(out, key=key, overwrite=options.overwrite) as partial:
        tokenizer = _tokenizer(partial, given, sources, options, watch)
        share = options.part.choose(sources) if options.part else Share(sources)
        writer = StoreWriter(
            out,
            vocab_size=tokenizer.vocab_size,
            shard_tokens=options.shard_tokens,
            partial=partial,
        )
        with writer, Progress(partial, writer, options.filters, tokenizer.unk_id) as progress:
            _write(share, tokenizer, options, progress, watch)
            if not progress.summary.tokens and options.part is None:
                raise UserError(_nothing(specs, progress.summary.problems))
            return progress.finish(made_of)


def _check(specs: Sequence[str], options: PrepareOptions) -> None:
    if not specs:
        raise UserError("prepare: no source given; name at least one file, hf:NAME or docs:")
    if (options.tokenizer is None) == (options.vocab_size is None):
        state = "neither" if options.tokenizer is None else "both"
        raise UserError(
            f"prepare: {state} of --tokenizer and --vocab-size given; name a tokenizer to use,"
            " or the size of a vocabulary to train"
        )
    for flag, value in (
        ("tokenizer-kind", options.tokenizer_kind),
        ("tokenizer-family", options.tokenizer_family),
        ("vocabulary-sample-mb", options.vocabulary_sample_bytes),
    ):
        if options.tokenizer is not None and value is not None:
            raise UserError(f"prepare: --{flag} is of a tokenizer to train; drop --tokenizer")
    if options.vocabulary is not None:
        options.vocabulary.check()
    if options.part is not None and options.tokenizer is None:
        raise UserError(
            "prepare: all parts need one --tokenizer; train it first (the store that --vocab-size"
            " gives for some of the sources will do)"
        )
    for name in ("processes", "shard_tokens"):
        value = getattr(options, name)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise UserError(f"prepare: --{flag} {value}; expected at least 1")
    if (options.shard_tokens or 0) > _MOST_SHARD_TOKENS:
        raise UserError(
            f"prepare: --shard-tokens {options.shard_tokens}; expected at most "
            f"{_MOST_SHARD_TOKENS}, as places in a shard are 32-bit numbers"
        )
    if options.limit_bytes is not None and options.limit_bytes < 1:
        raise UserError(f"prepare: limit_bytes is {options.limit_bytes}; expected at least 1")
    check_language(options.language)
    # Says at once that a package is missing.
    Examiner(options.filters)


def _made_of(
    specs: Sequence[str], sources: Sequence[Source], options: PrepareOptions
) -> dict[str, Any]:
    """What parts of one store have in common, beside `part`, as plain values."""
    kept = {k: v for k, v in asdict(options).items() if k not in ("processes", "overwrite", "part")}
    described = {
        "sources": list(specs),
        "sources_digest": sources_digest(sources),
        "options": kept,
        "made_with": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "part": None if options.part is None else asdict(options.part),
    }
    return json.loads(json.dumps(described))


def _fingerprint(tokenizer: Tokenizer) -> str:
    with tempfile.TemporaryDirectory() as directory:
        save_tokenizer(tokenizer, Path(directory) / TOKENIZER)
        return tokenizer_fingerprint(Path(directory))


def _tokenizer(
    partial: PartialStore,
    given: Tokenizer | None,
    sources: Sequence[Source],
    options: PrepareOptions,
    watch: Watch,
) -> Tokenizer:
    """The given tokenizer, or a trained one; training is not repeated after an interruption."""
    directory = partial.directory / TOKENIZER
    if given is not None:
        save_tokenizer(given, directory)
    elif partial.journal is None:
        assert options.vocabulary is not None
        trained = train_on_sources(sources, options.vocabulary, options.filters, watch)
        save_tokenizer(trained, directory)
        partial.note([], {})
    return load_tokenizer(directory)


def _write(
    share: Share,
    tokenizer: Tokenizer,
    options: PrepareOptions,
    progress: Progress,
    watch: Watch,
) -> None:
    watch.start("tokens", total_size(share.sources))
    encoder = DocumentEncoder(tokenizer, options.language, options.sentences, options.filters)
    processes = options.processes or os.cpu_count() or 1
    chunks = read_chunks(share, progress.position, watch.advance)
    for chunk, encoded in encode_chunks(chunks, encoder, processes):
        watch.took(progress.append(chunk, encoded))


def _nothing(specs: Sequence[str], problems: Problems) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in problems.counts.items())
    return f"{' '.join(specs)}: no text in there" + (f" (problems: {found})" if found else "")
