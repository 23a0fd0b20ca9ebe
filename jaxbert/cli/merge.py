"""`jaxbert merge`: one token store from the parts of `prepare --shard`."""

import argparse

HELP = "make one token store from the parts that `prepare --shard` made"
EXAMPLE = """\
jaxbert merge parts/* --out wiki.store"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    add = parser.add_argument
    add("parts", nargs="+", metavar="PART", help="all parts, in any order; they stay as they are")
    add("--out", required=True, metavar="STORE", help="directory to write, best on the same disk")
    add("--overwrite", action="store_true", help="replace an existing store")


def run(arguments: argparse.Namespace) -> int:
    """Merges the parts and prints what is in the store."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jaxbert.data.merge import merge

    store = merge(arguments.parts, arguments.out, overwrite=arguments.overwrite)
    table = Table("what", "how much", title=Text(f"token store {arguments.out}"))
    table.columns[1].justify = "right"
    for name, value in (
        ("parts", len(arguments.parts)),
        ("shards", len(store.shards)),
        ("documents", store.num_documents),
        ("sentences", store.num_sentences),
        ("tokens", store.num_tokens),
    ):
        table.add_row(name, f"{value:,}")
    Console().print(table)
    return 0
