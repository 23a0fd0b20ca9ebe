"""Types of arguments that several verbs have."""

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse reads one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)
