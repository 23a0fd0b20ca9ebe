"""jaxbert predict."""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxbert.cli.inference import (
    add_inference_arguments,
    columns,
    max_length,
    positive,
    reading,
    write_whole,
)
from jaxbert.errors import UserError

HELP = "predict classes for a table, or fill the [MASK]s of a text file, one JSON object a row"
EXAMPLE = """
jaxbert predict runs/classifier --data test.tsv --out predictions.jsonl
jaxbert predict runs/base --data sentences_with_masks.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_inference_arguments(parser, data="table, or for a masked LM a text file, a text a line")
    parser.add_argument("--top-k", type=positive, default=5, help="pieces per [MASK] (default 5)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from jaxbert.experiment import inference
    from jaxbert.experiment.masked_lm import fill_masks

    model = inference.ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype)
    if model.loaded.head.has_masked_lm:
        predictions = fill_masks(
            model,
            _lines(Path(arguments.data)),
            top_k=arguments.top_k,
            max_seq_length=max_length(arguments, model),
        )
    else:
        section = inference.section_of(model, columns(arguments))
        records = section.read(arguments.data, labelled=False)
        predictions = inference.predict_records(model, records, section, reading(arguments, model))
    lines = (json.dumps(prediction, ensure_ascii=False) for prediction in predictions)
    if arguments.out:
        write_whole(Path(arguments.out), _counted(lines))
    else:
        for line in lines:
            print(line)
    return 0


def _counted(lines: Iterable[str]) -> Iterator[str]:
    """The lines, with their number so far on a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("no rows yet") as status:
        for number, line in enumerate(lines, 1):
            status.update(f"{number:,} rows")
            yield line


def _lines(path: Path) -> list[str]:
    """The lines of a text file; a form feed or the like ends none, unlike in splitlines()."""
    from jaxbert.data.tables import existing_file

    try:
        text = existing_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}") from None
    return text.removesuffix("\n").split("\n") if text else []
