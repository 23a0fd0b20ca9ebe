"""jaxbert mine."""

import argparse
from dataclasses import fields
from typing import Any

from jaxbert.cli.arguments import check_not_given, positive
from jaxbert.cli.cpu_memory import keep_memory
from jaxbert.cli.inference import (
    add_inference_arguments,
    check_overrides_of_search,
    columns,
    reading,
)
from jaxbert.cli.output import out_file, write_whole
from jaxbert.cli.processes import Processes
from jaxbert.errors import UserError

HELP = "find hard negatives for pairs of texts by a model of embeddings"
EXAMPLE = """
jaxbert mine runs/embeddings --data train.tsv --out train_hard.jsonl
jaxbert mine runs/embeddings --data train.tsv --corpus texts.jsonl --negatives 3 --out hard.tsv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_inference_arguments(parser, data="pairs: columns anchor and positive, unless named")
    parser.add_argument("--corpus", metavar="FILE", help="more texts to search: a table")
    parser.add_argument("--corpus-column", help="its column (default: text)")
    parser.add_argument("--negatives", type=positive, help="of a row, at most (default: 5)")
    parser.add_argument("--skip", type=int, help="the nearest texts that are none (default: 0)")
    parser.add_argument("--depth", type=positive, help="texts looked at after them (default: 100)")
    parser.add_argument(
        "--relative-margin",
        type=float,
        help="share of the positive's score by which a negative's is lower (default: 0.05)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; several processes share the search, and the first one writes."""
    from jaxbert.cli.predictions import lines_of
    from jaxbert.data.tables import whole_rows
    from jaxbert.experiment.inference import ready, section_of
    from jaxbert.experiment.negatives import Mining, mine_negatives
    from jaxbert.tasks.text_rows import EmbeddingColumns

    if arguments.corpus is None:
        check_not_given(arguments, ["corpus_column"], "of --corpus alone")
    given = {field.name: getattr(arguments, field.name) for field in fields(Mining)}
    mining = Mining(**{name: value for name, value in given.items() if value is not None})
    with Processes(arguments) as processes:
        out = out_file(arguments.out, arguments.data)
        if out is None:
            raise UserError("--out: name the file to write, .jsonl, .csv or .tsv")
        keep_memory()
        model = ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype)
        check_overrides_of_search(arguments.overrides)
        section = section_of(model, columns(arguments), arguments.overrides)
        names: Any = section.columns
        if not isinstance(names, EmbeddingColumns):
            raise UserError(f"{arguments.model}: its task is {section.kind}, which has no vectors")
        if names.label is not None:
            raise UserError(
                f"task.columns.label={names.label}: these pairs are scored, and negatives are of "
                "pairs that belong together: give a table of such, and task.columns.label=null"
            )
        wanted = (names.text, names.text_pair)
        rows = whole_rows(arguments.data, columns=wanted, names=names.names, labelled=True)
        mined = mine_negatives(
            model, section, reading(arguments, model), list(rows), _corpus(arguments), mining
        )
        if processes.is_first:
            table = (each.columns(names, mining.negatives) for each in mined)
            write_whole(out, lines_of(table, out))
            _tell(str(out), [len(each.negatives) for each in mined], mining.negatives)
    return 0


def _corpus(arguments: argparse.Namespace) -> list[str]:
    from jaxbert.data.tables import whole_rows
    from jaxbert.tasks.sentences import text_of

    if arguments.corpus is None:
        return []
    column = arguments.corpus_column or "text"
    rows = whole_rows(arguments.corpus, columns=(column,), labelled=True)
    return [text_of(row, column) for row in rows]


def _tell(out: str, found: list[int], wanted: int) -> None:
    from jaxbert.cli.figures import print_figures

    few = sum(count < wanted for count in found)
    figures = {"rows": len(found), "negatives": sum(found), "rows with fewer than asked for": few}
    print_figures(out, figures)
    names = ",".join(f"negative_{number}" for number in range(1, wanted + 1))
    print(f"train with: task.columns.negatives=[{names}]")
