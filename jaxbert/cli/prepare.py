"""`jaxbert prepare`: text from anywhere to a token store."""

import argparse
import time
from typing import TYPE_CHECKING

from jaxbert.cli.arguments import add_case_arguments, megabytes

if TYPE_CHECKING:
    from rich.table import Table

    from jaxbert.data.filters import Filters
    from jaxbert.data.progress import Summary

HELP = "turn text into a token store to pretrain on"
EXAMPLE = """\
jaxbert prepare 'wiki/*.jsonl.xz' --out wiki.store --vocab-size 30000
jaxbert prepare books.txt --out books.store --tokenizer google-bert/bert-base-uncased
jaxbert prepare uniref50.fasta.gz --out uniref50.store --vocab-size 33 --tokenizer-family esm
jaxbert prepare docs: --limit-mb 4 --out docs.store --vocab-size 8000
jaxbert prepare 'texts/**' --out texts.store --vocab-size 50000 --tokenizer-family modernbert \\
    --vocabulary-sample-mb 1000
jaxbert prepare 'web/*.jsonl.gz' --out web.store --tokenizer wiki.store \\
    --deduplicate near --quality gopher --quality min_words=20
jaxbert prepare 'web/*.jsonl.gz' --out parts/3 --tokenizer wiki.store --shard 3/8
    (on each of 8 hosts with its own number, then: jaxbert merge parts/* --out web.store)

The same command again goes on where an interrupted one left off."""

_SOURCES = (
    ".txt (a blank line between documents), .jsonl, .csv, .tsv, .parquet, .fasta (or .fa, .faa: a"
    " sequence a document), .xml (a MediaWiki dump), wiki_NN (WikiExtractor), each also .gz, .xz,"
    " .bz2 or .zst, a pattern of such files, a directory of datasets' save_to_disk,"
    " hf:NAME[/CONFIG][:SPLIT], tfds:NAME[/CONFIG][:SPLIT], or docs:[PACKAGE,...] for the"
    " docstrings of the installed packages; see docs/sources.md"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help=_SOURCES)
    add("--out", required=True, metavar="STORE", help="directory to write")
    add("--tokenizer", metavar="DIR", help="tokenizer directory, vocab.txt or hub id to use")
    add("--vocab-size", type=int, metavar="N", help="train a vocabulary of this size")
    add(
        "--tokenizer-kind",
        choices=("wordpiece", "byte_level_bpe", "unigram", "residues"),
        help="what is trained; default: wordpiece, or what the family has",
    )
    add(
        "--tokenizer-family",
        choices=(
            *("bert", "mpnet", "roberta", "modernbert", "deberta", "albert", "deberta-v2"),
            *("xlm-roberta", "esm"),
        ),
        help="whose special tokens and treatment of text it gets; default: bert for wordpiece,"
        " roberta for byte_level_bpe, albert for unigram; esm: the 33 tokens of ESM-2, nothing is"
        " trained",
    )
    add(
        "--vocabulary-sample-mb",
        type=megabytes,
        dest="vocabulary_sample_bytes",
        metavar="N",
        help="learn the vocabulary from a sample of at most N MB of text, which is held in memory;"
        " default: from all of it",
    )
    add_case_arguments(
        parser,
        "the vocabulary is lowercase (what is trained is, unless --cased)",
        "the vocabulary tells capitals from small letters",
    )
    add("--processes", type=int, metavar="N", help="default: one a core")
    add("--text-column", default="text", metavar="NAME", help="of tables; default: text")
    add("--language", default="en", metavar="CODE", help="of the sentence rules; default: en")
    add(
        "--sentences",
        choices=("split", "lines"),
        default="split",
        help="split documents into sentences, or take every line for one; default: split",
    )
    add(
        "--limit-mb",
        type=megabytes,
        dest="limit_bytes",
        metavar="N",
        help="read the first N MB of text of all sources together, to the end of a document; of"
        " docs: at most as many, from all packages alike",
    )
    _add_filters(parser)
    add(
        "--shard",
        metavar="I/N",
        help="prepare part I (from 0) of N, for `jaxbert merge`: a run of whole sources where"
        " there are N or more, else every N-th document; duplicates are found within a part",
    )
    add(
        "--shard-tokens",
        type=int,
        metavar="N",
        help="tokens of a directory of the store, and of what an interruption may cost;"
        " default: 67,108,864",
    )
    add("--overwrite", action="store_true", help="replace an existing store")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--deduplicate",
        choices=("exact", "near"),
        help="drop documents that equal an earlier one, or (near) nearly do; default: neither",
    )
    add(
        "--similarity",
        type=float,
        metavar="X",
        help="from which share of common word 5-grams on documents are nearly equal; default: 0.75",
    )
    add(
        "--quality",
        action="append",
        default=[],
        metavar="gopher|NAME=VALUE",
        help="drop documents beyond a limit such as min_words=50, or beyond those of Gopher; may"
        " be given several times; default: no limit",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prepares the store and prints what is in it."""
    from jaxbert.cli.stages import Stages
    from jaxbert.data.parts import Part
    from jaxbert.data.prepare import PrepareOptions, prepare
    from jaxbert.data.writer import SHARD_TOKENS

    tokens = arguments.shard_tokens
    options = PrepareOptions(
        tokenizer=arguments.tokenizer,
        vocab_size=arguments.vocab_size,
        tokenizer_kind=arguments.tokenizer_kind,
        tokenizer_family=arguments.tokenizer_family,
        vocabulary_sample_bytes=arguments.vocabulary_sample_bytes,
        lowercase=arguments.lowercase,
        text_column=arguments.text_column,
        language=arguments.language,
        sentences=arguments.sentences,
        limit_bytes=arguments.limit_bytes,
        filters=_filters(arguments),
        shard_tokens=SHARD_TOKENS if tokens is None else tokens,
        part=None if arguments.shard is None else Part.parse(arguments.shard),
        processes=arguments.processes,
        overwrite=arguments.overwrite,
    )
    began = time.monotonic()
    with Stages() as stages:
        summary = prepare(arguments.sources, arguments.out, options, stages)
    _print(summary, arguments.out, time.monotonic() - began)
    return 0


def _filters(arguments: argparse.Namespace) -> "Filters":
    from jaxbert.config import parse_config, to_values
    from jaxbert.data.filters import Filters
    from jaxbert.data.min_hash import NearDuplicateConfig
    from jaxbert.data.quality import GOPHER, QualityConfig
    from jaxbert.errors import UserError

    similarity, near = arguments.similarity, arguments.deduplicate == "near"
    if similarity is not None and not near:
        raise UserError("--similarity is of near duplicates; add --deduplicate near")
    limits = [word for word in arguments.quality if word != "gopher"]
    values = to_values(GOPHER) if len(limits) < len(arguments.quality) else {}
    return Filters(
        parse_config(QualityConfig, values, limits, origin="--quality")
        if arguments.quality
        else None,
        arguments.deduplicate is not None,
        NearDuplicateConfig(threshold=0.75 if similarity is None else similarity) if near else None,
    )


def _print(summary: "Summary", out: str, seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(_what_is_in(summary, out, seconds))
    if summary.dropped:
        console.print(_dropped(summary))
    if summary.problems.counts:
        console.print(_problems(summary))
    if summary.dropped or summary.problems.counts:
        console.print(Text(f"all of it: {out}/problems.jsonl"), soft_wrap=True)


def _what_is_in(summary: "Summary", out: str, seconds: float) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "how much", title=Text(f"token store {out}"))
    table.columns[1].justify = "right"
    tokens = max(summary.tokens, 1)
    for name, value in (
        ("documents", f"{summary.documents:,}"),
        ("sentences", f"{summary.sentences:,}"),
        ("tokens", f"{summary.tokens:,}"),
        ("vocabulary", f"{summary.vocab_size:,}"),
        ("bytes per token", f"{summary.text_bytes / tokens:.2f}"),
        ("unknown pieces", f"{summary.unknown / tokens:.4%}"),
        ("text", f"{summary.text_bytes / 1e6:.1f} MB"),
        ("took", f"{seconds:.1f} s"),
        ("dropped", f"{sum(of.documents for of in summary.dropped.values()):,}"),
        ("malformed", f"{summary.problems.counts.total():,}"),
    ):
        table.add_row(name, value)
    return table


def _dropped(summary: "Summary") -> "Table":
    from rich.table import Table

    table = Table("why", "documents", "bytes of text", title="dropped and why")
    for column in table.columns[1:]:
        column.justify = "right"
    for reason, of in sorted(summary.dropped.items(), key=lambda entry: -entry[1].documents):
        table.add_row(reason, f"{of.documents:,}", f"{of.text_bytes:,}")
    return table


def _problems(summary: "Summary") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("problem", "count", "first at", "which", title="malformed input")
    table.columns[1].justify = "right"
    for kind, count in sorted(summary.problems.counts.items()):
        first = summary.problems.first[kind]
        place = Text(first.place, overflow="fold")
        table.add_row(kind, f"{count:,}", place, Text(first.detail))
    return table
