"""jaxbert predict."""

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxbert.cli.arguments import check_not_given, positive
from jaxbert.cli.cpu_memory import keep_memory
from jaxbert.cli.inference import (
    add_inference_arguments,
    add_masked_argument,
    columns,
    reading,
)
from jaxbert.cli.output import check_is_not_read, out_file, write_whole
from jaxbert.cli.predictions import lines_of, most_probable
from jaxbert.cli.processes import Processes
from jaxbert.errors import UserError

if TYPE_CHECKING:
    from jaxbert.data.reading import Reading
    from jaxbert.experiment.inference import Ready

HELP = "predict for every row of a file or standard input; of a masked LM fill masks, score texts"
EXAMPLE = """
jaxbert predict runs/classifier --data test.tsv --out predictions.jsonl
cat reviews.txt | jaxbert predict runs/classifier --data - --top-k 3
jaxbert predict runs/mrpc --data MRPC/test.tsv --glue-submission submission
jaxbert predict runs/base --data sentences_with_masks.txt
jaxbert predict runs/base --data sentences.txt --pseudo-log-likelihood --out scores.csv
"""

_OF_TASKS = (
    *("overrides", "text_pair_column", "truncation", "head_share", "stride", "combine"),
    "glue_submission",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    data = "table or text file, or - for standard input: JSON objects or texts, one a line"
    add_inference_arguments(parser, data=data)
    parser.add_argument(
        "--top-k",
        type=positive,
        help="so many classes, answers, pieces or words of a sparse embedding (default: all, 5 of "
        "many classes, 5 pieces)",
    )
    parser.add_argument(
        "--glue-submission", metavar="DIR", help="write what the benchmark's server takes there"
    )
    parser.add_argument(
        "--pseudo-log-likelihood",
        action="store_true",
        default=None,
        help="how likely a masked LM finds each text: the sum over its tokens, each masked",
    )
    add_masked_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; several processes take turns, and the first one writes."""
    with Processes(arguments) as processes:
        if arguments.data == "-" and not processes.is_alone:
            raise UserError("--data -: several processes each read the data: give a file")
        keep_memory()
        file, lines = _file_and_lines(arguments)
        if processes.is_first:
            _write(arguments, file, lines)
        else:
            # Its part of them goes to the first one.
            deque(lines, maxlen=0)
    return 0


def _write(arguments: argparse.Namespace, file: Path | None, lines: Iterator[str]) -> None:
    if file is None:
        for line in lines:
            print(line, flush=True)
        return
    if arguments.glue_submission:
        file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, _counted(lines))
    if arguments.glue_submission:
        print(file)


def _file_and_lines(arguments: argparse.Namespace) -> tuple[Path | None, Iterator[str]]:
    """Where to write, None for standard output, and what."""
    from jaxbert.data.tables import check_split
    from jaxbert.experiment import inference
    from jaxbert.experiment.alike import check_same_model
    from jaxbert.experiment.predictor import Predictor, made_up
    from jaxbert.parallel.processes import by_turns
    from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig

    if arguments.glue_submission:
        check_not_given(arguments, ["out"], "--glue-submission writes a file of its own")
    out = out_file(arguments.out, arguments.data)
    check_split(arguments.data)
    model = inference.ready(arguments.model, batch_size=arguments.batch_size, dtype=arguments.dtype)
    check_same_model(model.loaded.params, model.loaded.directory)
    if model.loaded.head.predicts_tokens:
        check_not_given(arguments, _OF_TASKS, "a masked LM reads single texts")
        return out, lines_of(_of_masked_lm(arguments, model, reading(arguments, model)), out)
    check_not_given(arguments, ["pseudo_log_likelihood", "masked"], "of a masked LM alone")
    read = reading(arguments, model)
    section = inference.section_of(model, columns(arguments), arguments.overrides)
    if arguments.top_k and isinstance(section, SequenceClassificationConfig):
        section = replace(section, top_k=arguments.top_k)
    records = section.read(arguments.data, labelled=False)
    predictor = Predictor(model, section=section, reading=read)
    found = by_turns(records, model.rows_at_once, predictor.records)
    if arguments.glue_submission:
        return _submission(arguments, getattr(section, "glue", None), found)
    cut = (most_probable(each, arguments.top_k) for each in found)

    def example() -> dict[str, Any]:
        """What predictions have, shown by one for made-up texts."""
        return most_probable(predictor([made_up(section)])[0], arguments.top_k)

    return out, lines_of(cut, out, example)


def _of_masked_lm(
    arguments: argparse.Namespace, model: "Ready", read: "Reading"
) -> Iterator[dict[str, Any]]:
    """The texts of the data with what stands behind their masks, or how likely they are."""
    from jaxbert.data.tables import whole_rows
    from jaxbert.experiment.masked_lm import mask_filler
    from jaxbert.experiment.pseudo_likelihood import text_scorer
    from jaxbert.parallel.processes import by_turns
    from jaxbert.tasks.sentences import text_of

    column = arguments.text_column or "text"
    rows = whole_rows(arguments.data, columns=(column,), labelled=False)
    texts = (text_of(row, column) for row in rows)
    length = read.max_seq_length
    if arguments.pseudo_log_likelihood:
        check_not_given(arguments, ["top_k"], "of masks that are filled; texts are scored whole")
        act = text_scorer(model, masked=arguments.masked or "token", max_seq_length=length)
    else:
        check_not_given(arguments, ["masked"], "of --pseudo-log-likelihood alone")
        act = mask_filler(model, top_k=arguments.top_k or 5, max_seq_length=length)
    return by_turns(texts, model.rows_at_once, act)


def _submission(
    arguments: argparse.Namespace, task: Any, predictions: Iterable[dict[str, Any]]
) -> tuple[Path, Iterator[str]]:
    """The file that the benchmark wants for a test file, and its lines."""
    from jaxbert.tasks.glue import submission_file, submission_lines

    if task is None:
        raise UserError("--glue-submission: the model's run does not have task.glue")
    file = Path(arguments.glue_submission) / submission_file(task, arguments.data)
    check_is_not_read(file, arguments.data)
    return file, submission_lines(task, predictions)


def _counted(lines: Iterable[str]) -> Iterator[str]:
    """The lines, with their number so far on a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("no rows yet") as status:
        for number, line in enumerate(lines, 1):
            status.update(f"{number:,} rows")
            yield line
