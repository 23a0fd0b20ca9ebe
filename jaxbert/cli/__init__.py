"""The command line: verbs, one file each, imported when used."""

import argparse
import errno
import logging
import os
import sys
from importlib import import_module
from textwrap import dedent, indent

from jaxbert import __version__
from jaxbert.errors import UserError

VERBS = (
    *("prepare", "merge", "pretrain", "finetune", "evaluate", "predict"),
    *("plan", "goodput", "convert", "adapt", "inspect-tokenizer", "demo", "info"),
)
_ANOTHER_PLACE = "name another place, or change what may be done there"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, and give the same command again"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR), _ANOTHER_PLACE),
}
"""What to do about errors of the machine that no code is at fault for."""


def main(argv: list[str] | None = None) -> int:
    """Runs one verb and returns the exit status: 0, 2 for what the user can put right, ..."""
    _show_warnings()
    arguments = parse(argv)
    try:
        return arguments.command(arguments)
    except UserError as error:
        print(f"jaxbert {arguments.verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; nothing more may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        # Writing to a file that is open already does not say which.
        place = error.filename or getattr(arguments, "run", None) or getattr(arguments, "out", None)
        reason = f"{error.strerror}: {_REMEDIES[error.errno]}"
        print(f"jaxbert {arguments.verb}: {place or 'writing'}: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"jaxbert {arguments.verb}: interrupted", file=sys.stderr)
        return 130


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
    if rest and (not hasattr(arguments, "overrides") or any(word[0] == "-" for word in rest)):
        hint = "; options of a configuration are words, such as optimizer.learning_rate=3e-5"
        is_training = hasattr(arguments, "config")
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint if is_training else ''}")
    if rest:
        # argparse gives a verb no more positional arguments once a flag came between them.
        arguments.overrides = [*arguments.overrides, *rest]
    return arguments


def _show_warnings() -> None:
    """Prints warnings, except of libraries that print their own.

    Nor errors that Orbax raises after it has logged them, in several threads with their traces.
    """
    handler = logging.StreamHandler()
    handler.addFilter(
        lambda record: record.name.split(".")[0] not in ("huggingface_hub", "datasets")
    )
    handler.addFilter(lambda record: record.name != "absl" or not record.exc_info)
    logging.basicConfig(format="jaxbert: %(message)s", handlers=[handler])


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
