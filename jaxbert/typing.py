"""The array vocabulary.

Dimension words in shapes: batch, seq, hidden, heads, head_dim, mlp, vocab, layer, classes, types,
predictions (masked positions per row), examples (of a packed row). One letter stands only inside
an einsum:
b batch, q query position, k key position, n heads, d head_dim, h hidden, p predictions, v vocab,
o relative position.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

Array = jax.Array
ArrayOrNumpy = jax.Array | np.ndarray
"""What a person may hand to a model."""
ArrayOrLists = ArrayOrNumpy | Sequence[Any]
"""Or as nested lists of numbers."""
Params = dict[str, Any]
"""Plain nested dict of arrays, keyed by module names; layers by their decimal index as a string."""
Batch = Mapping[str, Array]
HostBatch = Mapping[str, np.ndarray]
"""A batch before it is on the devices."""
