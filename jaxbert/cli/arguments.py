"""Arguments that several verbs have, and their types."""

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse reads one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def add_case_arguments(
    parser: argparse.ArgumentParser,
    lowercase: str = "what a bare vocab.txt does not say: the text is lowercased",
    cased: str = "a bare vocab.txt tells capitals from small letters",
) -> None:
    """`lowercase` of the arguments, None where neither is said; the texts are for --help."""
    case = parser.add_mutually_exclusive_group()
    case.add_argument("--lowercase", action="store_true", default=None, help=lowercase)
    case.add_argument("--cased", action="store_false", dest="lowercase", help=cased)
