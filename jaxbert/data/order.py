"""The order in which training visits examples: random access into an endless shuffled stream.

Grain's `index_shuffle` serves the same purpose, but release 0.2.18 visits one example twice and
another never where an epoch has 4**k + 1 of them, its usual four rounds leave neighbours
correlated, and epochs of a few examples take it milliseconds per example.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.draws import mixed, words

# Four rounds of a Feistel network pass for random (Luby and Rackoff 1988) where halves are long.
_ROUNDS = 8
_MAX_EXAMPLES = 2**62
_SORTED = 4096
"""Up to so many examples an epoch is sorted whole: there a network's halves are a few bits."""


def visit(seed: int, num_examples: int, positions: Indices) -> tuple[Indices, Indices]:
    """Says which examples the stream holds at some positions: their epochs and indices.

    Every epoch is a permutation of [0, num_examples) of its own, computed position by position:
    nothing of the size of the corpus is held.
    """
    assert 0 < num_examples <= _MAX_EXAMPLES, num_examples
    epochs, places = np.divmod(positions, num_examples)
    if num_examples <= _SORTED:
        return epochs, _sorted(seed, num_examples, epochs, places)
    found, rows = np.unique(epochs, return_inverse=True)
    drawn = np.array([_keys(seed, epoch) for epoch in found.tolist()], np.uint32)
    keys = drawn.reshape(-1, _ROUNDS).T[:, rows]
    indices = _encipher(places, keys, num_examples)
    while (outside := np.flatnonzero(indices >= num_examples)).size:
        indices[outside] = _encipher(indices[outside], keys[:, outside], num_examples)
    return epochs, indices


def _sorted(seed: int, num_examples: int, epochs: Indices, places: Indices) -> Indices:
    """The permutation that sorts an epoch's random numbers: any is as likely as any other."""
    found, rows = np.unique(epochs, return_inverse=True)
    drawn = words(seed, "order", found, np.zeros_like(found), num_examples)
    return np.argsort(drawn, axis=1, kind="stable")[rows, places]


@lru_cache(maxsize=16)
def _keys(seed: int, epoch: int) -> NDArray[np.uint32]:
    """Of the rounds: a few epochs are met again and again."""
    return words(seed, "order", np.array([epoch]), np.zeros(1, np.int64), _ROUNDS)[0]


def _encipher(numbers: Indices, keys: NDArray[np.uint32], num_examples: int) -> Indices:
    """A permutation of the first a * b numbers, few more than the examples.

    The generalised Feistel network of Black and Rogaway (2002, section 5) on two digits, one
    below a and one below b; what falls outside the examples is enciphered again (section 4).
    """
    a = math.isqrt(num_examples - 1) + 1
    b = -(-num_examples // a)
    bases = np.array(a, np.uint64), np.array(b, np.uint64)
    left, right = np.divmod(numbers.astype(np.uint64), bases[1])
    for number, key in enumerate(keys):
        drawn = mixed(right.astype(np.uint32) ^ key).astype(np.uint64)
        left, right = right, (left + drawn) % bases[number % 2]
    return (left * bases[1] + right).astype(np.int64)
