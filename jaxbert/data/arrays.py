"""The arrays of the data side, by what is in them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
"""Of tokens."""
Indices = NDArray[np.int64]
"""Of rows, texts, or positions in an array."""
Marks = NDArray[np.bool_]
Batch = dict[str, NDArray[Any]]
"""Rows of one shape, by key."""
