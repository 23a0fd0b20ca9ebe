"""Vectors of which most components are 0."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray


class SparseVector(NamedTuple):
    """The components that are not 0."""

    places: NDArray[np.int32]
    """Ascending."""
    values: NDArray[np.float32]
    size: int
    """How many components there are."""


def sparse_vectors(dense: NDArray[np.float32]) -> NDArray[Any]:
    """Of [..., size] an array [...] of `SparseVector`."""
    found = np.empty(dense.shape[:-1], object)
    for place in np.ndindex(found.shape):
        [places] = np.nonzero(dense[place])
        values = dense[place][places]
        found[place] = SparseVector(places.astype(np.int32), values, dense.shape[-1])
    return found


def as_matrix(vectors: NDArray[Any]) -> scipy.sparse.csr_array:
    """Rows of a float32 matrix of an array [rows] of at least one `SparseVector`."""
    ends = np.cumsum([0, *(len(vector.places) for vector in vectors)])
    values = np.concatenate([vector.values for vector in vectors])
    places = np.concatenate([vector.places for vector in vectors])
    return scipy.sparse.csr_array((values, places, ends), shape=(len(vectors), vectors[0].size))


def active_dims(matrix: scipy.sparse.csr_array) -> float:
    """Mean over rows of how many components are not 0."""
    return float(matrix.nnz / matrix.shape[0])


def products_of_a_pair(queries: scipy.sparse.csr_array, documents: scipy.sparse.csr_array) -> float:
    """How many components of a query and of a document are both not 0, expected of a random pair.

    What an inverted index multiplies: the FLOPs of Paria et al. 2020.
    """
    shares = [_counts(matrix) / matrix.shape[0] for matrix in (queries, documents)]
    return float(shares[0] @ shares[1])


def _counts(matrix: scipy.sparse.csr_array) -> NDArray[np.int64]:
    return np.bincount(matrix.indices, minlength=matrix.shape[1])
