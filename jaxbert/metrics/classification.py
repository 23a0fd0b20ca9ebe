"""Classification metrics over whole evaluations: numpy arrays in, one number out."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Classes = NDArray[np.integer]


def accuracy(labels: Classes, predictions: Classes) -> float:
    """Share of rows [rows] whose predicted class is their label; 0.0 for no rows."""
    return float(accuracy_score(labels, predictions)) if len(labels) else 0.0


def f1(labels: Classes, predictions: Classes, num_classes: int) -> float:
    """F1 of class 1 where there are two classes; otherwise the unweighted mean over classes.

    The mean is over the classes that occur among the labels or predictions. A class that is never
    predicted rightly has F1 0.0, also where it does not occur at all; so has an empty input.
    """
    if not len(labels):
        return 0.0
    average = "binary" if num_classes == 2 else "macro"
    return float(f1_score(labels, predictions, average=average, zero_division=0.0))


def matthews_correlation(labels: Classes, predictions: Classes) -> float:
    """Matthews correlation from -1 to 1; 0.0 where labels or predictions are all of one class."""
    if len(np.unique(labels)) < 2 or len(np.unique(predictions)) < 2:
        return 0.0
    return float(matthews_corrcoef(labels, predictions))
