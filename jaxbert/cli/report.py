"""jaxbert report."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HELP = "make a page of how a run went, or of how several runs differ"
EXAMPLE = """
jaxbert report runs/base
jaxbert report runs/classifier runs/distilled --out comparison.html
jaxbert report runs/three-seeds    # every run in it, their mean and deviation
"""
PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --out and --json."""
    parser.add_argument(
        "directories", nargs="+", metavar="RUN", help="run directory, directory of runs, or URL"
    )
    parser.add_argument(
        "--out",
        metavar="FILE.html",
        help=f"the page; - is standard output (default: {PAGE} in RUN, and here for several RUNs or"
        " a URL)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the figures as JSON; no page without --out"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    import datetime

    from jaxbert.cli.output import write_whole
    from jaxbert.cli.run_tables import as_json, print_comparison, print_run
    from jaxbert.report.comparison import compared
    from jaxbert.report.page import page_of
    from jaxbert.report.reading import read_runs

    out = _out(arguments)
    runs = read_runs(arguments.directories)
    comparisons = compared(runs)
    if arguments.json:
        print(as_json(comparisons))
    if arguments.json and arguments.out is None:
        return 0
    page = page_of(runs, datetime.datetime.now(datetime.UTC))
    if out is None:
        print(page, end="")
        return 0
    write_whole(out, [page.removesuffix("\n")])
    if arguments.json:
        return 0
    for comparison in comparisons:
        if len(comparison.runs) > 1:
            print_comparison(comparison)
        else:
            print_run(comparison.runs[0], comparison.scores[0])
    print(f"the page is {out}")
    return 0


def _out(arguments: argparse.Namespace) -> "Path | None":
    """The page's file; None for standard output."""
    from pathlib import Path

    from jaxbert.cli.output import STANDARD_OUTPUT
    from jaxbert.errors import UserError
    from jaxbert.text.remote import check_is_here

    out, first = arguments.out, arguments.directories[0]
    if out == STANDARD_OUTPUT:
        if arguments.json:
            raise UserError("--json and --out -: both are standard output: name a file")
        return None
    if out is None:
        is_one = len(arguments.directories) == 1 and "://" not in first
        return Path(first, PAGE) if is_one else Path(PAGE)
    check_is_here(out)
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: is written as a page: expected .html")
    return Path(out)
