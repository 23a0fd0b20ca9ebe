"""`jaxbert convert`: any format into Hugging Face's layout or jaxbert's own, checked on request."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from jaxbert.cli.arguments import add_case_arguments, check_not_given
from jaxbert.errors import UserError
from jaxbert.nn.head import HeadKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxbert.hub.save import Layout
    from jaxbert.hub.verify import Differences
    from jaxbert.nn.config import EncoderConfig
    from jaxbert.nn.head import Head
    from jaxbert.text.tokenizer import Tokenizer
    from jaxbert.typing import Params

HELP = "convert a model from any format, verified against PyTorch on request"
EXAMPLE = """\
jaxbert convert google-bert/bert-base-uncased bert-base --verify
jaxbert convert uncased_L-12_H-768_A-12/bert_model.ckpt bert-base --lowercase
jaxbert convert runs/first exported --dtype bfloat16 --max-shard-size 2GB
jaxbert convert runs/first so-far --step latest    # a run that goes on, or failed
jaxbert convert runs/first averaged --step 8000,9000,latest --average
jaxbert convert runs/seed-1 runs/seed-2 runs/seed-3 soup --average
jaxbert convert bert-base native --to orbax"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the verb's arguments."""
    parser.add_argument(
        "source",
        nargs="+",
        help="model or run directory, TensorFlow checkpoint, hub id or URL; several with --average",
    )
    parser.add_argument("destination", help="directory to write")
    parser.add_argument(
        "--to",
        choices=("huggingface", "orbax"),
        help="layout to write: of transformers, or with the parameters as an Orbax tree, which has"
        " a place for every head (default: huggingface; of --step as the run would write it)",
    )
    parser.add_argument(
        "--step",
        type=_steps,
        metavar="N|latest",
        help="of a run: the model that it would have left if it had ended at the checkpoint of step"
        " N, or at its newest; the run may be going on, and what it is trained on must be here;"
        " several with --average: 8000,9000,latest",
    )
    parser.add_argument(
        "--average",
        action="store_true",
        help="the mean of several models, or of several steps of a run, which differ in their"
        " weights alone",
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
    how = {name: getattr(arguments, name) for name in ("dtype", "max_shard_size", "overwrite")}
    _check_number(arguments)
    models = _of_model(arguments, how) if arguments.step is None else _of_run(arguments, how)
    agree = [not arguments.verify or _agrees(written) for written in models]
    return 0 if all(agree) else 1


def _of_model(arguments: argparse.Namespace, how: dict[str, Any]) -> "Iterator[_Written]":
    """Converts a model, and says so."""
    from jaxbert.hub.convert import convert

    directory = arguments.destination
    layout: Layout = arguments.to or "huggingface"
    asked = {name: getattr(arguments, name) for name in ("head", "lowercase", "revision")}
    converted = convert(arguments.source, directory, layout=layout, **asked, **how)
    source, tokenizer = converted.source, converted.tokenizer
    what = f", the mean of {len(arguments.source)} models" if arguments.average else ""
    _print_written(directory, source.config, source.head, what)
    if tokenizer is None:
        print(f"The export has no tokenizer: {converted.no_tokenizer}")
    model = (source.params, source.config, source.head)
    yield _Written(directory, layout, arguments.dtype, *model, tokenizer)


def _of_run(arguments: argparse.Namespace, how: dict[str, Any]) -> "Iterator[_Written]":
    """Converts a checkpoint of a run, and says so of each of its models."""
    why = "a checkpoint has the head and the tokenizer of its run (--step): leave it out"
    check_not_given(arguments, ["head", "lowercase", "revision"], why)
    import jax

    # The run may be going on, and hold the accelerator, which nothing here needs.
    jax.config.update("jax_platforms", "cpu")
    from jaxbert.experiment.export import after, export_checkpoint
    from jaxbert.hub.save import layout_for

    [source] = arguments.source
    places = (source, arguments.destination, arguments.step)
    exported = export_checkpoint(*places, layout=arguments.to, **how)
    what = ", the mean of those" if arguments.average else ""
    for directory, made in exported.models.items():
        _print_written(str(directory), made.encoder, made.head, f"{what} {after(exported.steps)}")
        layout = arguments.to or layout_for(made.encoder, made.head)
        model = (made.params, made.encoder, made.head)
        yield _Written(str(directory), layout, arguments.dtype, *model, exported.tokenizer)


def _check_number(arguments: argparse.Namespace) -> None:
    """Raises UserError for several models without --average, and for one with it."""
    sources, steps = arguments.source, arguments.step or ()
    if steps and sources[1:]:
        raise UserError(f"--step is of one run: leave out {', '.join(sources[1:])}")
    names = steps if steps else sources
    is_several = len(names) > 1
    if is_several and not arguments.average:
        listed = ", ".join(map(str, names))
        raise UserError(f"{listed} are several models: take one, or their mean with --average")
    if arguments.average and not is_several:
        raise UserError("--average is of several models: name more, or --step N,N,... of a run")


def _steps(text: str) -> tuple[int | Literal["latest"], ...]:
    """Steps, or the word, as argparse reads them."""
    return tuple(map(_step, text.split(",")))


def _step(text: str) -> int | Literal["latest"]:
    if text == "latest":
        return "latest"
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected the number of a step, or latest: {text!r}")
    return int(text)


def _print_written(directory: str, config: "EncoderConfig", head: "Head", what: str = "") -> None:
    from jaxbert.hub.save import config_fields

    name = next(iter(config_fields(config, head)["architectures"]), head.kind)
    print(f"{directory}: {name}{what}")


@dataclass(frozen=True)
class _Written:
    """A directory, and the model that it was made of."""

    directory: str
    layout: "Layout"
    dtype: str
    params: "Params"
    config: "EncoderConfig"
    head: "Head"
    tokenizer: "Tokenizer | None"


def _agrees(written: _Written) -> bool:
    """Prints whether PyTorch and transformers read in the directory what was written."""
    differences = _verify(written)
    _print(differences)
    tokenizer = written.tokenizer
    has_same_ids = tokenizer is None or _verify_tokenizer(tokenizer, written.directory)
    return differences.is_equivalent and has_same_ids


def _verify(written: _Written) -> "Differences":
    """Compares what PyTorch reads with the source, or, where bytes were saved, with the export.

    bfloat16 rounds the weights, so an exact comparison takes the rounded ones on both sides.
    An Orbax tree is read back and compared through a float32 export of it.
    """
    from tempfile import TemporaryDirectory

    from jaxbert.hub.load import from_pretrained
    from jaxbert.hub.save import save_pretrained
    from jaxbert.hub.verify import verify
    from jaxbert.nn.functional import model_from_params

    is_rounded, is_orbax = written.dtype != "float32", written.layout == "orbax"
    if is_rounded or is_orbax:
        model = from_pretrained(written.directory)
    else:
        model = model_from_params(written.params, written.config, written.head)
    if not is_orbax:
        return verify(model, written.directory)
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
