"""jaxbert predict."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxbert.cli.inference import (
    add_inference_arguments,
    check_no_overrides,
    columns,
    positive,
    reading,
    write_whole,
)
from jaxbert.cli.predictions import lines_of, most_probable
from jaxbert.errors import UserError

HELP = "predict for every row of a file or of standard input; fill the [MASK]s of a masked LM"
EXAMPLE = """
jaxbert predict runs/classifier --data test.tsv --out predictions.jsonl
cat reviews.txt | jaxbert predict runs/classifier --data - --top-k 3
jaxbert predict runs/mrpc --data MRPC/test.tsv --glue-submission submission
jaxbert predict runs/base --data sentences_with_masks.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    data = "table or text file, or - for standard input: JSON objects or texts, one a line"
    add_inference_arguments(parser, data=data)
    parser.add_argument(
        "--top-k",
        type=positive,
        help="so many classes, answers or pieces (default: all, 5 of many classes, 5 pieces)",
    )
    parser.add_argument(
        "--glue-submission", metavar="DIR", help="write what the benchmark's server takes there"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from jaxbert.data.problems import Problems
    from jaxbert.data.tables import read_rows
    from jaxbert.experiment import inference
    from jaxbert.experiment.masked_lm import fill_masks
    from jaxbert.experiment.predictor import Predictor
    from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig

    model = inference.ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype)
    read = reading(arguments, model)
    if model.loaded.head.has_masked_lm:
        check_no_overrides(arguments)
        column = arguments.text_column or "text"
        rows = read_rows(arguments.data, columns=(column,), problems=Problems())
        predictions = fill_masks(
            model,
            (row.values[column] for row in rows),
            top_k=arguments.top_k or 5,
            max_seq_length=read.max_seq_length,
        )
    else:
        section = inference.section_of(model, columns(arguments), arguments.overrides)
        if arguments.top_k and isinstance(section, SequenceClassificationConfig):
            section = replace(section, top_k=arguments.top_k)
        predictor = Predictor(model, section=section, reading=read)
        found = predictor.records(section.read(arguments.data, labelled=False))
        if arguments.glue_submission:
            return _submit(arguments, getattr(section, "glue", None), found)
        predictions = (most_probable(prediction, arguments.top_k) for prediction in found)
    out = Path(arguments.out) if arguments.out else None
    lines = lines_of(predictions, out)
    if out is not None:
        write_whole(out, _counted(lines))
    else:
        for line in lines:
            print(line, flush=True)
    return 0


def _submit(arguments: argparse.Namespace, task: Any, predictions: Iterable[dict[str, Any]]) -> int:
    """Writes the file that the benchmark wants for a test file."""
    from jaxbert.tasks.glue import submission_file, submission_lines

    if task is None:
        raise UserError("--glue-submission: the model's run does not have task.glue")
    directory = Path(arguments.glue_submission)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / submission_file(task, arguments.data)
    write_whole(file, _counted(submission_lines(task, predictions)))
    print(file)
    return 0


def _counted(lines: Iterable[str]) -> Iterator[str]:
    """The lines, with their number so far on a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("no rows yet") as status:
        for number, line in enumerate(lines, 1):
            status.update(f"{number:,} rows")
            yield line
