"""The order in which training visits examples: random access into an endless shuffled stream.

Grain's `index_shuffle` serves the same purpose, but release 0.2.18 visits one example twice and
another never where an epoch has 4**k + 1 of them, its usual four rounds leave neighbours
correlated, and epochs of a few examples take it milliseconds per example.
"""

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.draws import words

Indices = NDArray[np.int64]

# Four rounds of a Feistel network pass for random (Luby and Rackoff 1988) where halves are long;
# those of a small corpus have a few bits.
_ROUNDS = 8
_MAX_EXAMPLES = 2**62


def visit(seed: int, num_examples: int, positions: Indices) -> tuple[Indices, Indices]:
    """Says which examples the stream holds at some positions: their epochs and indices.

    Every epoch is a permutation of [0, num_examples) of its own, computed position by position: a
    Feistel network over the smallest 4**k numbers that suffice, applied again to what falls
    outside (cycle walking; Black and Rogaway 2002). Nothing of the size of the corpus is held.
    """
    assert 0 < num_examples <= _MAX_EXAMPLES, num_examples
    epochs, places = np.divmod(positions, num_examples)
    keys = words(seed, "order", epochs, np.zeros_like(epochs), _ROUNDS)
    half_bits = max(1, ((num_examples - 1).bit_length() + 1) // 2)
    indices = _encipher(places, keys, half_bits)
    while (outside := np.flatnonzero(indices >= num_examples)).size:
        indices[outside] = _encipher(indices[outside], keys[outside], half_bits)
    return epochs, indices


def _encipher(numbers: Indices, keys: NDArray[np.uint32], half_bits: int) -> Indices:
    mask = np.uint32((1 << half_bits) - 1)
    left = (numbers >> half_bits).astype(np.uint32)
    right = numbers.astype(np.uint32) & mask
    for key in keys.T:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left.astype(np.int64) << half_bits) | right


def _mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finaliser of MurmurHash3: every bit of the result depends on all bits of the value."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))
