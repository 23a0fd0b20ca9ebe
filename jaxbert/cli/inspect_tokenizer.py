"""jaxbert inspect-tokenizer."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxbert.cli.arguments import add_case_arguments, megabytes
from jaxbert.errors import UserError
from jaxbert.text.remote import check_is_here

if TYPE_CHECKING:
    from jaxbert.data.inspection import Inspected
    from jaxbert.text.inspection.retrained import Comparison
    from jaxbert.text.inspection.tally import Inspection
    from jaxbert.text.tokenizer import Tokenizer

HELP = "what a tokenizer makes of a corpus: lengths, split and unknown words, another vocabulary"
EXAMPLE = """
jaxbert inspect-tokenizer bert-base-uncased reviews.csv --text-column review --out inspection
jaxbert inspect-tokenizer runs/base/model train.tsv --text-column question1 \\
    --text-pair-column question2
jaxbert inspect-tokenizer stores/wiki/tokenizer 'notes/*.jsonl.xz' --limit-mb 50 --compare-new
"""

JSON, PICTURE = "inspection.json", "lengths.png"
_SAMPLE_CHARACTERS = 16_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("tokenizer", metavar="TOKENIZER", help="directory, vocab.txt or hub id")
    add("sources", nargs="+", metavar="SOURCE", help="as for `jaxbert prepare`: text or tables")
    add("--text-column", default="text", metavar="NAME", help="of tables; default: text")
    add("--text-pair-column", metavar="NAME", help="second texts; a row is then a pair")
    add(
        "--limit-mb",
        type=megabytes,
        dest="limit_bytes",
        metavar="N",
        help="read the first N MB of text, to the end of a document",
    )
    add_case_arguments(parser)
    add("--out", metavar="DIR", help=f"write {JSON} and {PICTURE} there")
    add(
        "--compare-new",
        action=argparse.BooleanOptionalAction,
        help="train a vocabulary of the same kind and size and compare (default: where all of the"
        f" text is at most {_SAMPLE_CHARACTERS // 10**6} million characters, the sample it uses)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Reads the sources, prints what was found, and writes it where it was asked for."""
    from jaxbert.cli.stages import Stages
    from jaxbert.data.inspection import InspectionOptions, inspect_sources
    from jaxbert.text.inspection.lengths import model_limit
    from jaxbert.text.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(arguments.tokenizer, lowercase=arguments.lowercase)
    limit = model_limit(arguments.tokenizer, tokenizer)
    options = InspectionOptions(
        text_column=arguments.text_column,
        text_pair_column=arguments.text_pair_column,
        limit_bytes=arguments.limit_bytes,
        sample_characters=0 if arguments.compare_new is False else _SAMPLE_CHARACTERS,
    )
    out = _directory(arguments.out)
    with Stages() as stages:
        found = inspect_sources(tokenizer, arguments.sources, options, stages)
        stages.start("words", None)
        figures = found.tally.figures(model_limit=limit)
        if arguments.compare_new or (arguments.compare_new is None and found.sample.is_whole):
            stages.start("vocabulary", None)
            comparison = _compare(tokenizer, found)
        else:
            comparison = "not asked for; --compare-new does it on a sample"
    if out is not None:
        _write(out, arguments, figures, comparison, found)
    _print(arguments.tokenizer, figures, comparison, found)
    return 0


def _directory(out: str | None) -> Path | None:
    if out is None:
        return None
    check_is_here(out)
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror})") from None
    return Path(out)


def _compare(tokenizer: "Tokenizer", found: "Inspected") -> "Comparison | str":
    from jaxbert.text.inspection.retrained import compare

    try:
        return compare(tokenizer, found.sample)
    except UserError as error:
        return str(error)


def _write(
    out: Path,
    arguments: argparse.Namespace,
    figures: "Inspection",
    comparison: "Comparison | str",
    found: "Inspected",
) -> None:
    from dataclasses import asdict

    from jaxbert.text.inspection.picture import draw_lengths

    values: dict[str, Any] = {"tokenizer": arguments.tokenizer, "sources": arguments.sources}
    values |= asdict(figures)
    values["new_vocabulary"] = (
        {"not_compared": comparison} if isinstance(comparison, str) else asdict(comparison)
    )
    values["problems"] = dict(sorted(found.problems.counts.items()))
    text = json.dumps(values, indent=2, ensure_ascii=False)
    # What is no Unicode in the name of a file becomes an escape of JSON's.
    (out / JSON).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    first, *others = arguments.sources
    place = Path(first).name + (f" and {len(others)} more" if others else "")
    title = f"{place}: lengths of {figures.rows:,} rows"
    draw_lengths(found.tally.lengths, figures.lengths, out / PICTURE, title)


def _print(
    name: str, figures: "Inspection", comparison: "Comparison | str", found: "Inspected"
) -> None:
    from rich.console import Console
    from rich.text import Text

    from jaxbert.cli.inspection_tables import tables

    console = Console()
    for table in tables(name, figures, comparison, found.problems.counts):
        # Paths and advice are for any width of terminal; tables have their own.
        console.print(table, soft_wrap=isinstance(table, Text))
