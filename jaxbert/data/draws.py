"""Random numbers that are a function of their address, for whole batches at once.

`np.random.Philox` is counter-based too, but one Generator object per example costs more than the
example itself; this is the 32-bit member of the same family, evaluated on arrays of counters.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Arrays without dimensions: NumPy takes twice as long with scalars, and a batch has few examples.
_MULTIPLIERS = np.array(0xD2511F53, np.uint64), np.array(0xCD9E8D57, np.uint64)
_KEY_STEPS = np.array(0x9E3779B9, np.uint64), np.array(0xBB67AE85, np.uint64)
_ROUNDS = np.arange(10, dtype=np.uint64)
_LOW_WORD = np.array(0xFFFFFFFF, np.uint64)
_WORD_BITS = np.array(32, np.uint64)
_GOLDEN = np.array(0x9E3779B9, np.uint32)
_MIXERS = np.array(0x85EBCA6B, np.uint32), np.array(0xC2B2AE35, np.uint32)
_SHIFTS = np.array(16, np.uint32), np.array(13, np.uint32)


def philox(
    counter: tuple[NDArray[np.uint64], ...], key: tuple[NDArray[np.uint64] | int, ...]
) -> tuple[NDArray[np.uint64], ...]:
    """Philox4x32-10 of broadcastable words, four of a counter and two of a key: four arrays of
    words below 2**32.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3.
    """
    word0, word1, word2, word3 = counter
    schedules = [
        np.add.outer(_ROUNDS * step, np.asarray(word, np.uint64)) & _LOW_WORD
        for word, step in zip(key, _KEY_STEPS, strict=True)
    ]
    for key0, key1 in zip(*schedules, strict=True):
        product0 = word0 * _MULTIPLIERS[0]
        product1 = word2 * _MULTIPLIERS[1]
        word0 = (product1 >> _WORD_BITS) ^ word1 ^ key0
        word1 = product1 & _LOW_WORD
        word2 = (product0 >> _WORD_BITS) ^ word3 ^ key1
        word3 = product0 & _LOW_WORD
    return word0, word1, word2, word3


@lru_cache(maxsize=64)
def hashed(seed: int, purpose: str, num_bytes: int) -> int:
    """An unsigned integer of `num_bytes` bytes that differs for any two (seed, purpose)."""
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=num_bytes).digest()
    return int.from_bytes(digest, "little")


def word_keys(
    seed: int, purposes: Sequence[str], epochs: NDArray[np.int64], examples: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """What the words of every example are made of, by purpose: uint32 [purposes, 2, examples]."""
    hashes = np.array([[hashed(seed, purpose, 8)] for purpose in purposes], np.uint64)
    address = examples.astype(np.uint64)
    epoch = epochs.astype(np.uint64) & _LOW_WORD
    counter = (np.zeros_like(address), epoch, address & _LOW_WORD, address >> _WORD_BITS)
    first, second, *_ = philox(counter, (hashes & _LOW_WORD, hashes >> _WORD_BITS))
    keys = np.empty((len(purposes), 2, len(examples)), np.uint32)
    keys[:, 0], keys[:, 1] = first, second
    return keys


def words_at(places: NDArray[np.integer], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Word number `places` of the examples with `keys` [2, ...], which broadcast: uint32."""
    drawn = np.asarray(places, np.uint32) * _GOLDEN + keys[0]
    _mix(drawn)
    drawn ^= keys[1]
    _mix(drawn)
    return drawn


def words(
    seed: int,
    purpose: str,
    epochs: NDArray[np.int64],
    examples: NDArray[np.int64],
    count: int,
) -> NDArray[np.uint32]:
    """`count` random words for every example: uint32 [examples, count].

    Word j of an example depends on (seed, purpose, epoch, example, j) alone, not on its
    neighbours in the call nor on `count`: Philox makes a key of the address, and j is mixed twice
    with it, which takes a fifth of the time that as much Philox would.
    """
    (keys,) = word_keys(seed, [purpose], epochs, examples)
    return words_at(np.arange(count), keys[:, :, None])


def mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finaliser of MurmurHash3: every bit of the result depends on all bits of the value."""
    values = values.copy()
    _mix(values)
    return values


def _mix(values: NDArray[np.uint32]) -> None:
    shifted = values >> _SHIFTS[0]
    values ^= shifted
    values *= _MIXERS[0]
    np.right_shift(values, _SHIFTS[1], shifted)
    values ^= shifted
    values *= _MIXERS[1]
    np.right_shift(values, _SHIFTS[0], shifted)
    values ^= shifted


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
