"""The command line: verbs, one file each, imported when used."""

import argparse
import io
import sys
from functools import partial
from importlib import import_module
from textwrap import dedent, indent

from jaxbert import __version__
from jaxbert.cli.output import takes_all_characters
from jaxbert.cli.reporting import show_warnings, status_of

VERBS = (
    *("prepare", "merge", "pretrain", "finetune", "evaluate", "predict", "mine"),
    *("plan", "goodput", "report", "convert", "adapt", "inspect-tokenizer", "demo", "info"),
)


def main(argv: list[str] | None = None) -> int:
    """Runs one verb and returns the exit status: 0, 2 for what the user must put right, ..."""
    show_warnings()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may be no Unicode: they are printed as they are. A terminal of another
        # encoding gets escapes for what it lacks.
        errors = "surrogateescape" if takes_all_characters() else "backslashreplace"
        sys.stdout.reconfigure(errors=errors)
    arguments = parse(argv)
    place = getattr(arguments, "run", None) or getattr(arguments, "out", None)
    return status_of(partial(arguments.command, arguments), f"jaxbert {arguments.verb}", place)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The verb and its arguments; what no verb takes ends the process with its usage."""
    parser = argparse.ArgumentParser(
        prog="jaxbert",
        description="Train BERT-family encoders with JAX, in and out of Hugging Face format.",
    )
    parser.add_argument("--version", action="version", version=f"jaxbert {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        _add_verb(verbs, name)
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(word.startswith("-") for word in rest)):
        hint = "; options of a configuration are words, such as optimizer.learning_rate=3e-5"
        is_training = hasattr(arguments, "config")
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint if is_training else ''}")
    if rest:
        # argparse gives a verb no more positional arguments once a flag came between them.
        arguments.overrides = [*arguments.overrides, *rest]
    return arguments


def _add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str) -> None:
    module = import_module(f"jaxbert.cli.{name.replace('-', '_')}")
    verb = verbs.add_parser(
        name,
        help=module.HELP,
        description=module.HELP,
        epilog="example:\n" + indent(dedent(module.EXAMPLE).strip(), "  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(verb)
    verb.set_defaults(command=module.run)
