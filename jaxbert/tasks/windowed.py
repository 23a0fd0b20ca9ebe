"""Outputs of a text's windows as those of the text."""

import numpy as np

from jaxbert.data.reading import Combination


def first_windows(documents: np.ndarray) -> np.ndarray:
    """Where every document's windows begin; those of one follow one another."""
    return np.flatnonzero(np.diff(documents, prepend=-1))


def combine_windows(logits: np.ndarray, documents: np.ndarray, how: Combination) -> np.ndarray:
    """float64 [documents, classes] from those of windows [windows, classes], in order.

    last_weighted: window i of a document, from 1 on, has weight i in the mean.
    """
    firsts = first_windows(documents)
    logits = logits.astype(np.float64)
    if how == "max":
        return np.maximum.reduceat(logits, firsts)
    sizes = np.diff(firsts, append=len(documents))
    within = np.arange(len(documents)) - np.repeat(firsts, sizes)
    weights = within + 1.0 if how == "last_weighted" else np.ones(len(documents))
    totals = np.add.reduceat(logits * weights[:, None], firsts)
    return totals / np.add.reduceat(weights, firsts)[:, None]
