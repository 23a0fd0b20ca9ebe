"""Random numbers that are a function of their address, for whole batches at once.

`np.random.Philox` is counter-based too, but one Generator object per example costs more than the
example itself; this is the 32-bit member of the same family, evaluated on arrays of counters.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW_WORD = np.uint64(0xFFFFFFFF)
_WORD_BITS = np.uint64(32)


def philox(
    counter: tuple[NDArray[np.uint64], ...], key: tuple[int, int]
) -> tuple[NDArray[np.uint64], ...]:
    """Philox4x32-10 of four broadcastable counter words: four arrays of words below 2**32.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3.
    """
    word0, word1, word2, word3 = counter
    key0, key1 = key
    for _ in range(_ROUNDS):
        product0 = word0 * _MULTIPLIERS[0]
        product1 = word2 * _MULTIPLIERS[1]
        word0 = (product1 >> _WORD_BITS) ^ word1 ^ np.uint64(key0)
        word1 = product1 & _LOW_WORD
        word2 = (product0 >> _WORD_BITS) ^ word3 ^ np.uint64(key1)
        word3 = product0 & _LOW_WORD
        key0 = (key0 + _KEY_STEPS[0]) & 0xFFFFFFFF
        key1 = (key1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return word0, word1, word2, word3


def hashed(seed: int, purpose: str, num_bytes: int) -> int:
    """An unsigned integer of `num_bytes` bytes that differs for any two (seed, purpose)."""
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=num_bytes).digest()
    return int.from_bytes(digest, "little")


def words(
    seed: int,
    purpose: str,
    epochs: NDArray[np.int64],
    examples: NDArray[np.int64],
    count: int,
) -> NDArray[np.uint32]:
    """`count` random words for every example: uint32 [examples, count].

    Word j of an example depends on (seed, purpose, epoch, example, j) alone, not on its
    neighbours in the call nor on `count`.
    """
    key = hashed(seed, purpose, 8)
    blocks = np.arange(-(-count // 4), dtype=np.uint64)[None, :]
    address = examples.astype(np.uint64)[:, None]
    epoch = epochs.astype(np.uint64)[:, None] & _LOW_WORD
    counter = (blocks, epoch, address & _LOW_WORD, address >> _WORD_BITS)
    out = np.empty((len(examples), blocks.size, 4), np.uint32)
    for lane, values in enumerate(philox(counter, (key & 0xFFFFFFFF, key >> 32))):
        out[:, :, lane] = values
    return out.reshape(len(examples), 4 * blocks.size)[:, :count]


def uniforms(
    seed: int,
    purpose: str,
    epochs: NDArray[np.int64],
    examples: NDArray[np.int64],
    count: int,
) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) with 53 random bits for every example: float64 [examples, count].

    `below(u, n)` makes an integer of one; addressed like `words`.
    """
    drawn = words(seed, purpose, epochs, examples, 2 * count).astype(np.uint64)
    high, low = drawn[:, 0::2] >> np.uint64(5), drawn[:, 1::2] >> np.uint64(6)
    return (high * 2.0**26 + low) * 2.0**-53


def below(uniform: NDArray[np.float64], bound: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Turns numbers in [0, 1) into integers in [0, bound); `bound` may differ per number."""
    return (uniform * bound).astype(np.int64)
