"""What the verbs that use a finished model have in common."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxbert.cli.arguments import positive
from jaxbert.cli.processes import add_process_arguments
from jaxbert.errors import UserError

if TYPE_CHECKING:
    from jaxbert.data.reading import Reading
    from jaxbert.experiment.inference import Ready


def add_inference_arguments(parser: argparse.ArgumentParser, *, data: str) -> None:
    """MODEL, options of its task, --data, columns, sizes, --out."""
    parser.add_argument("model", help="model directory, run directory or hub id")
    parser.add_argument(
        "overrides",
        nargs="*",
        type=_override,
        metavar="task.key=value",
        help="options of its task (default: as in the run), e.g. task.null_threshold=2.5",
    )
    parser.add_argument("--data", required=True, help=data)
    parser.add_argument("--text-column", help="column of the text (default: as in the run)")
    parser.add_argument("--text-pair-column", help="column of the second text")
    parser.add_argument(
        "--max-seq-length", type=positive, help="longer inputs are cut (default: as in the run)"
    )
    parser.add_argument(
        "--truncation", choices=["head", "tail", "head_tail"], help="what is read of longer inputs"
    )
    parser.add_argument(
        "--head-share", type=float, metavar="SHARE", help="of what head_tail keeps, from the head"
    )
    parser.add_argument(
        "--stride", type=int, help="read longer inputs in windows that share STRIDE tokens"
    )
    parser.add_argument(
        "--combine", choices=["mean", "max", "last_weighted"], help="outputs of an input's windows"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=32, help="rows per batch (default 32)"
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16"],
        default="float32",
        help="what is computed in (default: float32)",
    )
    parser.add_argument("--out", help="file to write to (- for standard output)")
    add_process_arguments(parser)


def add_masked_argument(parser: argparse.ArgumentParser) -> None:
    """--masked, of what scores texts by a masked LM."""
    parser.add_argument(
        "--masked",
        choices=["token", "rest_of_word"],
        help="where a token is scored: it alone is masked (default), or its word from it on",
    )


def _override(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"expected task.KEY=VALUE, found {text!r}")
    return text


def columns(arguments: argparse.Namespace) -> dict[str, str]:
    """The columns that were named."""
    names = ("text", "text_pair", "label")
    named = {name: getattr(arguments, f"{name}_column", None) for name in names}
    return {name: column for name, column in named.items() if column is not None}


def reading(arguments: argparse.Namespace, model: "Ready") -> "Reading":
    """What is read of long inputs: as asked, else as in the model's run."""
    from jaxbert.experiment.inference import reading_of

    return reading_of(
        model,
        arguments.max_seq_length,
        truncation=arguments.truncation,
        head_share=arguments.head_share,
        stride=arguments.stride,
        combine=arguments.combine,
    )


def check_overrides_of_search(overrides: Sequence[str]) -> None:
    """UserError for an option of the task that a search would not look at."""
    read = (
        *("columns", "prompts", "query_length", "query_expansion"),
        *("skiplist_words", "skiplist_tasks"),
    )
    for word in overrides:
        key = word.partition("=")[0].removeprefix("task.").split(".")[0]
        if word.startswith("task.") and key not in read:
            raise UserError(
                f"{word}: a search reads whole vectors and both sides by their own prompts: leave "
                f"it out; expected one of {', '.join('task.' + name for name in read)}"
            )
