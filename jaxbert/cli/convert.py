"""`jaxbert convert`: any format into Hugging Face's layout or jaxbert's own, checked on request."""

import argparse
from typing import TYPE_CHECKING, get_args

from jaxbert.cli.arguments import add_case_arguments
from jaxbert.nn.head import HeadKind

if TYPE_CHECKING:
    from jaxbert.hub.load import Pretrained
    from jaxbert.hub.verify import Differences
    from jaxbert.text.tokenizer import Tokenizer

HELP = "convert a model from any format, verified against PyTorch on request"
EXAMPLE = """\
jaxbert convert google-bert/bert-base-uncased bert-base --verify
jaxbert convert uncased_L-12_H-768_A-12/bert_model.ckpt bert-base --lowercase
jaxbert convert runs/first exported --dtype bfloat16 --max-shard-size 2GB
jaxbert convert bert-base native --to orbax"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument(
        "source", help="model or run directory, TensorFlow checkpoint, hub id or URL"
    )
    parser.add_argument("destination", help="directory to write")
    parser.add_argument(
        "--to",
        choices=("huggingface", "orbax"),
        default="huggingface",
        help="layout to write: of transformers, or with the parameters as an Orbax tree, which has"
        " a place for every head (default: huggingface)",
    )
    parser.add_argument(
        "--verify", action="store_true", help="compare with transformers in PyTorch"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights that are written (default: float32)",
    )
    parser.add_argument(
        "--max-shard-size",
        type=lambda text: int(text) if text.isdecimal() else text,
        help='split the weights: bytes, or such as "5GB"',
    )
    add_case_arguments(parser)
    parser.add_argument(
        "--head", choices=get_args(HeadKind), help="default: what config.json names"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model")


def run(arguments: argparse.Namespace) -> int:
    """Converts; 1 where the export differs from what PyTorch computes."""
    from jaxbert.families import family_of
    from jaxbert.hub.convert import convert

    converted = convert(
        arguments.source,
        arguments.destination,
        head=arguments.head,
        layout=arguments.to,
        dtype=arguments.dtype,
        max_shard_size=arguments.max_shard_size,
        lowercase=arguments.lowercase,
        revision=arguments.revision,
        overwrite=arguments.overwrite,
    )
    source, tokenizer = converted.source, converted.tokenizer
    kind = source.head.kind
    print(
        f"{arguments.destination}: {family_of(source.config.model_type).architecture(kind) or kind}"
    )
    if tokenizer is None:
        print(f"The export has no tokenizer: {converted.no_tokenizer}")
    if not arguments.verify:
        return 0
    differences = _verify(source, arguments)
    _print(differences)
    has_same_ids = tokenizer is None or _verify_tokenizer(tokenizer, arguments.destination)
    return 0 if differences.is_equivalent and has_same_ids else 1


def _verify(source: "Pretrained", arguments: argparse.Namespace) -> "Differences":
    """Compares what PyTorch reads with the source, or, where bytes were saved, with the export.

    bfloat16 rounds the weights, so an exact comparison takes the rounded ones on both sides.
    An Orbax tree is read back and compared through a float32 export of it.
    """
    from tempfile import TemporaryDirectory

    from jaxbert.hub.load import from_pretrained
    from jaxbert.hub.save import save_pretrained
    from jaxbert.hub.verify import verify
    from jaxbert.nn.functional import model_from_params

    is_rounded, is_orbax = arguments.dtype != "float32", arguments.to == "orbax"
    if is_rounded or is_orbax:
        model = from_pretrained(arguments.destination)
    else:
        model = model_from_params(source.params, source.config, source.head)
    if not is_orbax:
        return verify(model, arguments.destination)
    with TemporaryDirectory() as scratch:
        save_pretrained(model, None, scratch)
        return verify(model, scratch)


def _verify_tokenizer(tokenizer: "Tokenizer", destination: str) -> bool:
    """Prints whether transformers gives the ids that the source's tokenizer gives here."""
    from jaxbert.hub.verify_tokenizer import TEXTS, tokenizer_differences

    differing = tokenizer_differences(tokenizer, destination)
    same = f"{len(TEXTS) - len(differing)} of {len(TEXTS)}"
    print(f"tokenizer: transformers gives {same} texts the same ids")
    for text in differing:
        print(f"  DIFFERS: {text!r}")
    return not differing


def _print(differences: "Differences") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"jaxbert against transformers' {differences.architecture} in PyTorch")
    for title in ("output", "largest difference", "largest value", "verdict"):
        table.add_column(title, justify="left" if title in ("output", "verdict") else "right")
    for output in differences.outputs:
        verdict = "agrees" if output.is_within_tolerance else "DIFFERS"
        numbers = (f"{output.largest_difference:.2e}", f"{output.largest_value:.3g}")
        table.add_row(output.name, *numbers, verdict)
    console = Console()
    console.print(table)
    for what, keys in (("missing", differences.missing), ("unexpected", differences.unexpected)):
        console.print(f"{what} keys: {', '.join(keys) or 'none'}", markup=False)
