"""Metrics of texts with any number of labels: numpy arrays in, numbers out."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

Flags = NDArray[np.bool_]

OF_PREDICTIONS = ("f1_micro", "f1_macro", "accuracy")
"""The metrics that depend on which labels are predicted, not on the probabilities alone."""


def multi_label_metrics(
    labels: Flags, probabilities: NDArray[np.floating], predictions: Flags
) -> dict[str, float]:
    """Of arrays [rows, labels]. `accuracy` is the share of rows with all labels right.

    `average_precision` and `roc_auc` are means over the labels for which they are defined: those
    that some row has, and for the latter some row has not; missing where there is no such label.
    An F1 without any true or predicted label is 0.0. All are 0.0 for no rows.
    """
    if not len(labels):
        return dict.fromkeys(OF_PREDICTIONS, 0.0)
    found = {
        "f1_micro": _f1(labels, predictions, "micro"),
        "f1_macro": _f1(labels, predictions, "macro"),
        "accuracy": float(accuracy_score(labels, predictions)),
    }
    occurs = labels.any(axis=0)
    differs = occurs & ~labels.all(axis=0)
    if occurs.any():
        truth, values = labels[:, occurs], probabilities[:, occurs]
        found["average_precision"] = _mean(average_precision_score, truth, values)
    if differs.any():
        truth, values = labels[:, differs], probabilities[:, differs]
        found["roc_auc"] = _mean(roc_auc_score, truth, values)
    return found


def _f1(labels: Flags, predictions: Flags, average: str) -> float:
    # scikit-learn takes a single column for two classes, and would count right absences.
    how = "binary" if labels.shape[1] == 1 else average
    return float(f1_score(labels, predictions, average=how, zero_division=0.0))


def _mean(score: Callable[..., float], labels: Flags, values: NDArray[np.floating]) -> float:
    return float(np.mean([score(*column) for column in zip(labels.T, values.T, strict=True)]))
