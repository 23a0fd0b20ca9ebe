"""Thresholds of labels, chosen on data that was not trained on."""

import numpy as np
from numpy.typing import NDArray


def best_thresholds(
    labels: NDArray[np.bool_], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """float64 [labels]: the threshold of each with the best F1 over [rows, labels].

    Halfway between two probabilities that occur; of several equally good ones the nearest to 0.5.
    0.5 for a label that no row has.
    """
    columns = zip(labels.T, probabilities.T, strict=True)
    return np.array([_best(truth, column.astype(np.float64)) for truth, column in columns])


def _best(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    if not labels.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    found, hits = probabilities[order], np.cumsum(labels[order])
    # Predicting the first k: only where the next one is less can a threshold part them.
    places = np.flatnonzero(np.append(found[1:] < found[:-1], True))
    scores = 2 * hits[places] / (places + 1 + labels.sum())
    below = np.append(found, 0.0)[places + 1]
    middles = np.maximum((found[places] + below) / 2, np.nextafter(below, 1.0))
    # 0.5 itself, where it parts them too: nothing is then to be remembered.
    middles = np.where((below < 0.5) & (found[places] >= 0.5), 0.5, middles)
    best = np.flatnonzero(scores == scores.max())
    return float(middles[best[np.abs(middles[best] - 0.5).argmin()]])
