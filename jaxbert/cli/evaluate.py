"""jaxbert evaluate."""

import argparse

from jaxbert.cli.inference import (
    add_inference_arguments,
    check_no_overrides,
    columns,
    reading,
    write_whole,
)

HELP = "evaluate a classifier on a labelled table, or a masked LM on a token store"
EXAMPLE = """
jaxbert evaluate runs/classifier --data dev.tsv
jaxbert evaluate runs/base --data stores/wiki
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_inference_arguments(parser, data="labelled table, or token store for a masked LM")
    parser.add_argument("--label-column", help="column of the labels")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from pathlib import Path

    from jaxbert.cli.figures import print_figures
    from jaxbert.experiment import inference
    from jaxbert.experiment.finetune import TASKS
    from jaxbert.experiment.masked_lm import evaluate_masked_lm
    from jaxbert.training.log import to_json

    model = inference.ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype)
    if model.loaded.head.kind in TASKS:
        section = inference.section_of(model, columns(arguments), arguments.overrides)
        metrics = inference.evaluate_labelled(
            model, arguments.data, section, reading(arguments, model)
        )
    else:
        check_no_overrides(arguments)
        metrics = evaluate_masked_lm(model, arguments.data)
    print_figures(f"{arguments.model} on {arguments.data}", metrics)
    if arguments.out:
        figures = to_json(dict(sorted(metrics.items())), indent=4)
        write_whole(Path(arguments.out), [figures])
    return 0
