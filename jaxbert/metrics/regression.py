"""Regression metrics over whole evaluations: numpy arrays in, one number out."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.floating]


def pearson_correlation(labels: Values, predictions: Values) -> float:
    """Pearson correlation from -1 to 1; 0.0 where labels or predictions are all equal."""
    labels, predictions = _float64(labels), _float64(predictions)
    if _is_constant(labels) or _is_constant(predictions):
        return 0.0
    return float(stats.pearsonr(labels, predictions).statistic)


def spearman_correlation(labels: Values, predictions: Values) -> float:
    """Spearman rank correlation, ties sharing their mean rank; 0.0 where either is constant."""
    if _is_constant(_float64(labels)) or _is_constant(_float64(predictions)):
        return 0.0
    # Pearson of the ranks: the definition, and nothing is lost of two nearly equal values.
    return pearson_correlation(stats.rankdata(labels), stats.rankdata(predictions))


def _float64(values: Values) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _is_constant(values: NDArray[np.float64]) -> bool:
    # Relative to their size, values that differ by rounding alone have no direction to correlate.
    return len(values) < 2 or np.ptp(values) <= 1e-13 * np.abs(values).max()
