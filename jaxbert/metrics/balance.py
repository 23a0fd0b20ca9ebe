"""How unequally examples are shared out among classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def effective_classes(counts: NDArray[np.integer]) -> float:
    """exp(entropy): as many classes of equal size would be as hard to guess."""
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def balanced_weights(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """examples / (classes x examples of the class), as scikit-learn's; 1 for a class without any.

    The classes are those that occur.
    """
    occurs = counts > 0
    weights = counts.sum() / (occurs.sum() * np.maximum(counts, 1))
    return np.where(occurs, weights, 1.0)


def label_log_odds(matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """log(p / (1 - p)) of every column of 0 and 1; p counts half a row more on either side.

    So that a label of no row, or of all, has finite odds (Jeffreys' prior).
    """
    counts = matrix.sum(axis=0, dtype=np.float64)
    odds = np.log(counts + 0.5) - np.log(len(matrix) - counts + 0.5)
    return odds.astype(np.float32)


def described_balance(counts: NDArray[np.integer], names: Sequence[str]) -> str:
    """One line: largest and smallest class, rare and empty ones, effective number."""
    if counts.min() == counts.max():
        return f"classes: {len(counts):,}, of {counts[0]:,} examples each"
    occurring = np.flatnonzero(counts)
    largest = int(counts.argmax())
    smallest = int(occurring[counts[occurring].argmin()])
    parts = [
        f"classes: {len(counts):,} of {counts[smallest]:,} ({names[smallest]!r}) to "
        f"{counts[largest]:,} examples ({names[largest]!r})",
        f"to guess among them is as hard as among {effective_classes(counts):,.1f} equal ones",
    ]
    if once := int((counts == 1).sum()):
        parts.append(f"{once:,} with one example")
    if empty := [names[place] for place in np.flatnonzero(counts == 0).tolist()]:
        shown = ", ".join(map(repr, empty[:5]))
        parts.append(f"{len(empty):,} without any ({shown}{', ...' if empty[5:] else ''})")
    return "; ".join(parts)
