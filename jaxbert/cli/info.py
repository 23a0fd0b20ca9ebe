"""jaxbert info."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from jaxbert.hub.load import Opened

HELP = "show what a model is; without one versions, devices and the published sizes"
EXAMPLE = """
jaxbert info
jaxbert info runs/classifier
jaxbert info bert-base --parameters     # a preset: its architecture alone
jaxbert info bert-base-uncased --json model.json
"""

PACKAGES = (
    *("jaxbert", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tokenizers"),
    *("safetensors", "libtpu", "datasets", "tensorflow-datasets", "torch", "transformers"),
)
_LISTED = 10
"""Labels that are shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a model or run directory, a preset, a hub id or a URL; of its weights the names alone"
        " are read",
    )
    parser.add_argument(
        "--parameters",
        action="store_true",
        default=None,
        help="also every parameter by its path, as options such as optimizer.groups match it",
    )
    parser.add_argument("--json", metavar="FILE", help="also write all of it, parameters included")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    from rich.console import Console

    from jaxbert.cli.arguments import check_not_given

    if arguments.model is None:
        names = ["parameters", "json", "revision"]
        check_not_given(arguments, names, "is about a model: name one")
        Console().print(_versions())
        return 0
    import json

    from jaxbert.cli.output import write_whole

    values = _described(arguments.model, arguments.revision)
    _print(values, with_parameters=bool(arguments.parameters))
    if arguments.json:
        write_whole(Path(arguments.json), [json.dumps(values, indent=2)])
    return 0


def _versions() -> "Table":
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import jax
    from rich.table import Table

    from jaxbert.families import FAMILIES

    table = Table("what", "which")
    table.add_row("python", platform.python_version())
    for package in PACKAGES:
        try:
            table.add_row(package, version(package))
        except PackageNotFoundError:
            table.add_row(package, "not installed")
    devices = jax.devices()
    table.add_row("devices", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    table.add_row("processes", str(jax.process_count()))
    for family in FAMILIES.values():
        table.add_row(f"presets of {family.model_type}", ", ".join(family.presets))
    return table


def _described(model: str, revision: str | None) -> dict[str, Any]:
    """What there is to say, as plain values. A directory goes before a preset of that name."""
    from jaxbert.families import FAMILIES, preset
    from jaxbert.hub.load import open_params
    from jaxbert.hub.summary import by_part, options_of, parameters_of
    from jaxbert.nn.embeddings import longest_input
    from jaxbert.nn.head import Head

    presets = {name for family in FAMILIES.values() for name in family.presets}
    if model in presets and not Path(model).exists() and revision is None:
        config, head = preset(model), Head()
        files: dict[str, Any] = {"preset": model}
    else:
        opened = open_params(model, revision=revision)
        config, head, files = opened.config, opened.head, _files(opened)
    parameters = parameters_of(config, head)
    return {
        **files,
        "family": config.model_type,
        "head": _head(head),
        "encoder": dict(options_of(config)),
        "longest_input": longest_input(config),
        "num_parameters": sum(each.size for each in parameters),
        "parts": by_part(parameters),
        "parameters": [
            {"path": each.path, "shape": list(each.shape), "layers": each.count}
            for each in parameters
        ],
    }


def _files(opened: "Opened") -> dict[str, Any]:
    from jaxbert.hub.convert import tokenizer_of

    tokenizer = tokenizer_of(opened)
    kinds = ("cls", "sep", "pad", "mask", "unk")
    special = {} if tokenizer is None else {k: tokenizer.special_token(f"{k}_token") for k in kinds}
    return {
        "directory": str(opened.directory),
        "tokenizer": None
        if tokenizer is None
        else {
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": tokenizer.model_max_length,
            "special_tokens": [token for token in special.values() if token],
        },
        "not_used": list(opened.unused),
    }


def _head(head: Any) -> dict[str, Any]:
    """The kind, and the options that are set."""
    from jaxbert.config import to_values
    from jaxbert.nn.head import Head

    values, usual = to_values(head), to_values(Head())
    return {"kind": head.kind} | {k: v for k, v in values.items() if v != usual[k]}


def _print(values: dict[str, Any], *, with_parameters: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "which")

    def row(name: str, value: Any) -> None:
        table.add_row(Text(name), Text(_shown(value)))

    row("family", values["family"])
    for name, value in values["head"].items():
        row("head" if name == "kind" else f"head {name}", value)
    for name, value in values["encoder"].items():
        row(name, value)
    row("tokens of a row, at most", values["longest_input"])
    for name, value in (values.get("tokenizer") or {}).items():
        row(f"tokenizer {name}", value)
    if "directory" in values and values["tokenizer"] is None:
        row("tokenizer", "none")
    row("parameters", values["num_parameters"])
    for name, value in values["parts"].items():
        row(f"  {name}", value)
    if values.get("not_used"):
        row("in the files, not used", values["not_used"])
    console = Console()
    # A line of its own, for a long path would be cut in the table.
    title = values.get("directory") or f"preset {values['preset']}"
    console.print(Text(title), soft_wrap=True)
    console.print(table)
    if with_parameters:
        listed = Table("path", "shape", "layers")
        for each in values["parameters"]:
            shape = " x ".join(map(str, each["shape"]))
            listed.add_row(Text(each["path"]), shape, str(each["layers"]))
        console.print(listed)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        more = len(value) - _LISTED
        return ", ".join(map(str, value[:_LISTED])) + (f" and {more:,} more" if more > 0 else "")
    if isinstance(value, dict):
        return ", ".join(f"{name}={_shown(each)}" for name, each in value.items())
    return str(value)
