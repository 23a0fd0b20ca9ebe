"""What the verbs that use a finished model have in common."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxbert.experiment.inference import Ready


def add_inference_arguments(parser: argparse.ArgumentParser, *, data: str) -> None:
    """MODEL, --data, columns, sizes, --out."""
    parser.add_argument("model", help="model directory, run directory or hub id")
    parser.add_argument("--data", required=True, help=data)
    parser.add_argument("--text-column", help="column of the text (default: as in the run)")
    parser.add_argument("--text-pair-column", help="column of the second text")
    parser.add_argument("--max-seq-length", type=int, help="longer inputs are cut")
    parser.add_argument("--batch-size", type=int, default=32, help="rows per batch (default 32)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", help="file to write to")


def max_length(arguments: argparse.Namespace, model: "Ready") -> int:
    """The length asked for, else that of the model's run, else what the model can take."""
    from jaxbert.errors import UserError

    limit = model.loaded.config.max_position_embeddings
    asked = arguments.max_seq_length or model.run_config.get("max_seq_length") or limit
    if asked > limit:
        raise UserError(f"--max-seq-length {asked} exceeds the model's {limit} positions")
    return asked
