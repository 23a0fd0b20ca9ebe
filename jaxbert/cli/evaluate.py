"""jaxbert evaluate."""

import argparse
from pathlib import Path

from jaxbert.cli.arguments import check_not_given, positive
from jaxbert.cli.cpu_memory import keep_memory
from jaxbert.cli.inference import (
    add_inference_arguments,
    add_masked_argument,
    check_overrides_of_search,
    columns,
    reading,
)
from jaxbert.cli.output import out_file, write_whole
from jaxbert.cli.processes import Processes
from jaxbert.errors import UserError

HELP = (
    "evaluate a model on data of its task, embeddings on a corpus, a masked LM on a store or pairs"
)
EXAMPLE = """
jaxbert evaluate runs/classifier --data dev.tsv
jaxbert evaluate runs/base --data stores/wiki
jaxbert evaluate runs/embeddings --retrieval --data beir/scifact --ranking scifact.trec
jaxbert evaluate runs/reranker --retrieval --data beir/scifact --candidates scifact.trec
jaxbert evaluate runs/base --minimal-pairs --data 'blimp/*.jsonl' --group-column UID
"""

_OF_TABLES = (
    *("overrides", "text_column", "text_pair_column", "label_column"),
    *("max_seq_length", "truncation", "head_share", "stride", "combine"),
)
_OF_PAIRS = ("group_column", "scored", "masked")
_NOT_OF_PAIRS = ("overrides", *_OF_TABLES[3:])
_OF_RETRIEVAL = ("split", "ranking", "candidates", "depth")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_inference_arguments(
        parser,
        data="labelled data; of a masked LM: token store, or pairs; of --retrieval: directory",
    )
    parser.add_argument("--label-column", help="column of the labels")
    parser.add_argument(
        "--retrieval",
        action="store_true",
        default=None,
        help="how well embeddings find documents: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv "
        "of a directory, as BEIR has them",
    )
    parser.add_argument("--split", help="whose judgements (default: test)")
    parser.add_argument(
        "--ranking", metavar="FILE", help="also write the documents found, as trec_eval reads them"
    )
    parser.add_argument(
        "--candidates",
        metavar="FILE",
        help="of a reranker: what a search has found (its --ranking), to be put into its order",
    )
    parser.add_argument("--depth", type=positive, help="candidates of a query (default: 100)")
    parser.add_argument(
        "--minimal-pairs",
        action="store_true",
        default=None,
        help="how often a masked LM finds the text of --text-column (default: sentence_good) "
        "likelier than that of --text-pair-column (default: sentence_bad)",
    )
    parser.add_argument("--group-column", help="column of a pair's kind, for a figure of each")
    parser.add_argument(
        "--scored", choices=["all", "shared"], help="a pair's tokens, or those that both have"
    )
    add_masked_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; several processes share the rows, and the first one tells."""
    from jaxbert.cli.figures import print_figures
    from jaxbert.training.metrics_file import to_json

    with Processes(arguments) as processes:
        out = out_file(arguments.out, arguments.data)
        keep_memory()
        title, metrics = _metrics(arguments)
        figures = to_json(dict(sorted(metrics.items())), indent=4)
        if processes.is_first and out is not None:
            write_whole(out, [figures])
    if processes.is_first and arguments.out is not None and out is None:
        print(figures)
    elif processes.is_first:
        print_figures(title, metrics)
    return 0


def _metrics(arguments: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """What was evaluated on what, and the figures."""
    import jax

    from jaxbert.experiment import inference
    from jaxbert.experiment.finetune_config import TASKS, kind_of
    from jaxbert.experiment.masked_lm import evaluate_masked_lm, masked_lm_data

    title = f"{arguments.model} on {arguments.data}"
    if arguments.minimal_pairs and arguments.retrieval:
        raise UserError("--minimal-pairs and --retrieval: give one of them")
    if arguments.minimal_pairs:
        check_not_given(arguments, _OF_RETRIEVAL, "of --retrieval alone")
        return title, _of_pairs(arguments)
    check_not_given(arguments, _OF_PAIRS, "of --minimal-pairs alone")
    if arguments.retrieval:
        return title, _of_retrieval(arguments)
    check_not_given(arguments, _OF_RETRIEVAL, "of --retrieval alone")
    model = inference.ready(
        arguments.model,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
        devices=jax.devices(),
    )
    if kind_of(model.loaded.head) not in TASKS:
        check_not_given(arguments, _OF_TABLES, "a masked LM is evaluated on rows of a token store")
        data = masked_lm_data(model, arguments.data)
        share = data.config.validation_fraction
        documents = "all documents" if share == 1 else f"the {share:.4g} of it that was held out"
        return f"{title}, {documents}", evaluate_masked_lm(model, data)
    section = inference.section_of(model, columns(arguments), arguments.overrides)
    read = reading(arguments, model)
    return title, inference.evaluate_labelled(model, arguments.data, section, read)


def _of_pairs(arguments: argparse.Namespace) -> dict[str, float]:
    """Figures of minimal pairs."""
    from jaxbert.experiment.inference import ready
    from jaxbert.experiment.minimal_pairs import PairColumns, evaluate_minimal_pairs

    check_not_given(arguments, _NOT_OF_PAIRS, "minimal pairs are texts alone, and read whole")
    given = {
        "better": arguments.text_column,
        "worse": arguments.text_pair_column,
        "group": arguments.group_column,
    }
    return evaluate_minimal_pairs(
        ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype),
        arguments.data,
        PairColumns(**{name: column for name, column in given.items() if column is not None}),
        masked=arguments.masked or "token",
        scored=arguments.scored or "all",
    )


def _of_retrieval(arguments: argparse.Namespace) -> dict[str, float]:
    """Figures of a search; the first process writes the rankings."""
    from jaxbert.experiment.inference import ready, section_of
    from jaxbert.experiment.reranking import evaluate_reranking
    from jaxbert.experiment.retrieval import evaluate_retrieval
    from jaxbert.parallel.processes import is_first

    check_not_given(arguments, _OF_TABLES[1:4], "the columns of BEIR's files are known")
    model = ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype)
    if arguments.candidates is None:
        check_overrides_of_search(arguments.overrides)
    section = section_of(model, overrides=arguments.overrides)
    words = arguments.data, section, reading(arguments, model)
    split = arguments.split or "test"
    if arguments.candidates is None:
        check_not_given(arguments, ["depth"], "of --candidates alone")
        found = evaluate_retrieval(model, *words, split=split)
    else:
        depth = arguments.depth or 100
        found = evaluate_reranking(model, *words, arguments.candidates, split=split, depth=depth)
    if arguments.ranking is not None and is_first():
        write_whole(Path(arguments.ranking), found.lines())
    return dict(found.figures)
