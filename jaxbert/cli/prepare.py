"""`jaxbert prepare`: text from anywhere to a token store."""

import argparse
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from jaxbert.data.prepare import Summary

HELP = "turn text into a token store to pretrain on"
EXAMPLE = """\
jaxbert prepare 'wiki/*.jsonl.xz' --out wiki.store --vocab-size 30000
jaxbert prepare books.txt --out books.store --tokenizer google-bert/bert-base-uncased
jaxbert prepare docs: --limit-mb 4 --out docs.store --vocab-size 8000"""

_SOURCES = (
    ".txt (a blank line between documents), .jsonl, .csv, .tsv (each also .gz or .xz), .parquet,"
    " a pattern of such files, a directory of datasets' save_to_disk, hub:NAME[:CONFIG[:SPLIT]],"
    " tfds:NAME[:SPLIT], or docs:[PACKAGE,...] for the docstrings of the installed packages"
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
        choices=("wordpiece", "byte_level_bpe", "unigram"),
        help="what is trained, as BERT, RoBERTa or ALBERT has it; default: wordpiece",
    )
    case = parser.add_mutually_exclusive_group()
    case.add_argument(
        "--lowercase",
        action="store_true",
        default=None,
        help="the vocabulary is lowercase (what is trained is, unless --cased)",
    )
    case.add_argument("--cased", action="store_false", dest="lowercase")
    add("--processes", type=int, metavar="N", help="default: one a core")
    add("--text-column", default="text", metavar="NAME", help="of tables; default: text")
    add("--language", default="en", metavar="CODE", help="of the sentence rules; default: en")
    add(
        "--sentences",
        choices=("split", "lines"),
        default="split",
        help="split documents into sentences, or take every line for one; default: split",
    )
    add("--limit-mb", type=float, metavar="N", help="how much text docs: gives at most")
    add("--overwrite", action="store_true", help="replace an existing store")


def run(arguments: argparse.Namespace) -> int:
    """Prepares the store and prints what is in it."""
    from rich.console import Console

    from jaxbert.data.prepare import PrepareOptions, prepare

    limit = arguments.limit_mb
    options = PrepareOptions(
        tokenizer=arguments.tokenizer,
        vocab_size=arguments.vocab_size,
        tokenizer_kind=arguments.tokenizer_kind,
        lowercase=arguments.lowercase,
        text_column=arguments.text_column,
        language=arguments.language,
        sentences=arguments.sentences,
        limit_bytes=None if limit is None else int(limit * 1e6),
        processes=arguments.processes,
        overwrite=arguments.overwrite,
    )
    began = time.monotonic()
    with _progress(Console(stderr=True)) as progress:
        bars = _Bars(progress)
        summary = prepare(arguments.sources, arguments.out, options, bars)
        bars.finish()
    _print(summary, arguments.out, time.monotonic() - began)
    return 0


def _progress(console: "Console") -> "Progress":
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
    )


class _Bars:
    """A progress bar for each stage, with the rate at which text goes through it."""

    def __init__(self, progress: "Progress"):
        self._progress = progress
        self._stage: TaskID | None = None

    def start(self, stage: str, total: int | None) -> None:
        self.finish()
        self._stage = self._progress.add_task(stage, total=total, text="")
        self._text_bytes, self._began = 0, time.monotonic()

    def advance(self, amount: int) -> None:
        assert self._stage is not None
        self._progress.advance(self._stage, amount)

    def took(self, text_bytes: int) -> None:
        assert self._stage is not None
        self._text_bytes += text_bytes
        done = self._text_bytes / 1e6
        rate = done / max(time.monotonic() - self._began, 1e-3)
        self._progress.update(self._stage, text=f"{done:.1f} MB of text, {rate:.1f} MB/s")

    def finish(self) -> None:
        """Fill the bar of a stage that ended before its total, as `docs:` may."""
        if self._stage is not None:
            done = max(self._progress.tasks[self._stage].completed, 1)
            self._progress.update(self._stage, completed=done, total=done)


def _print(summary: "Summary", out: str, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("what", "how much", title=Text(f"token store {out}"))
    table.columns[1].justify = "right"
    for name, value in _figures(summary, seconds):
        table.add_row(name, value)
    console.print(table)
    if summary.problems.counts:
        found = Table("problem", "count", "first at", "which", title="malformed input")
        found.columns[1].justify = "right"
        for kind, count in sorted(summary.problems.counts.items()):
            first = summary.problems.first[kind]
            place = Text(f"{first.file}:{first.line}", overflow="fold")
            found.add_row(kind, f"{count:,}", place, Text(first.detail))
        console.print(found)
        console.print(Text(f"all of it: {out}/problems.jsonl"), soft_wrap=True)


def _figures(summary: "Summary", seconds: float) -> list[tuple[str, str]]:
    return [
        ("documents", f"{summary.documents:,}"),
        ("sentences", f"{summary.sentences:,}"),
        ("tokens", f"{summary.tokens:,}"),
        ("vocabulary", f"{summary.vocab_size:,}"),
        ("bytes per token", f"{summary.text_bytes / summary.tokens:.2f}"),
        ("unknown pieces", f"{summary.unknown / summary.tokens:.4%}"),
        ("text", f"{summary.text_bytes / 1e6:.1f} MB in {seconds:.1f} s"),
        ("malformed", f"{summary.problems.counts.total():,}"),
    ]
