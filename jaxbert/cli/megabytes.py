"""Sizes that are given in megabytes."""

import argparse
import math


def megabytes(text: str) -> int:
    """The bytes of a number of MB, for the `type` of an argument."""
    size = float(text) * 1e6
    if not (math.isfinite(size) and size >= 1):
        raise argparse.ArgumentTypeError(f"{text}: expected a number of MB above 0")
    return int(size)
