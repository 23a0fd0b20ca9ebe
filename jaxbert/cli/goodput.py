"""jaxbert goodput."""

import argparse

HELP = "show where the time of a run went, over all its restarts"
EXAMPLE = """
jaxbert goodput runs/base
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN and --json."""
    parser.add_argument("directory", metavar="RUN", help="run directory, or its URL")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    import json
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from jaxbert.errors import UserError
    from jaxbert.hub.several_runs import check_is_one_run
    from jaxbert.text.remote import fetch
    from jaxbert.training.goodput import FILE, MEANINGS, goodput, read_sessions

    run = arguments.directory
    sessions = read_sessions(fetch(run, [FILE]) if "://" in run else Path(run))
    if not sessions:
        check_is_one_run(run)
        raise UserError(f"{arguments.directory}: no {FILE} in there: give a run's directory")
    figures = goodput(sessions)
    if arguments.json:
        print(json.dumps({"sessions": len(sessions)} | figures, indent=2))
        return 0
    table = Table("activity", "seconds", "share", "what it is")
    for column in table.columns[1:3]:
        column.justify = "right"
    for name, meaning in MEANINGS.items():
        seconds = figures[name]
        table.add_row(name, f"{seconds:,.1f}", f"{seconds / figures['whole']:.1%}", meaning)
    table.add_section()
    table.add_row("whole", f"{figures['whole']:,.1f}", "", f"{len(sessions)} sessions")
    table.add_row("goodput", "", f"{figures['goodput']:.1%}", "train as a share of the whole")
    Console().print(table)
    return 0
