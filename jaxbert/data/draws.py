"""Random numbers that are a function of their address, for whole batches at once.

`np.random.Philox` is counter-based too, but one Generator object per example costs more than the
example itself; this is the 32-bit member of the same family, evaluated on arrays of counters.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_KEY_STEPS = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_ROUNDS = 10
_GOLDEN = np.uint32(0x9E3779B9)
_MIXERS = (np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35))
_LOW_WORD = np.uint64(0xFFFFFFFF)
_WORD_BITS = np.uint64(32)


def philox(
    counter: tuple[NDArray[np.uint64], ...], key: tuple[NDArray[np.uint64] | int, ...]
) -> tuple[NDArray[np.uint64], ...]:
    """Philox4x32-10 of broadcastable words, four of a counter and two of a key: four arrays of
    words below 2**32.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3.
    """
    words = np.empty((3, 2, *np.broadcast(*counter, *key).shape), np.uint64)
    # The words 0 and 2 go through a round together, so do 1 and 3, and the two of the key.
    for place, word in enumerate((*counter[0::2], *counter[1::2], *key)):
        words[divmod(place, 2)] = word
    even, odd, keys = words
    each = (2, *[1] * (even.ndim - 1))
    multipliers, steps = _MULTIPLIERS.reshape(each), _KEY_STEPS.reshape(each)
    for _ in range(_ROUNDS):
        product = even * multipliers
        even = (product >> _WORD_BITS)[::-1] ^ odd ^ keys
        odd = product[::-1] & _LOW_WORD
        keys = (keys + steps) & _LOW_WORD
    return even[0], odd[0], even[1], odd[1]


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
    return np.stack([first, second], axis=1).astype(np.uint32)


def words_at(places: NDArray[np.integer], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Word number `places` of the examples with `keys` [2, ...], which broadcast: uint32."""
    drawn = places.astype(np.uint32) * _GOLDEN + keys[0]
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
    shifted = np.right_shift(values, 16)
    values ^= shifted
    values *= _MIXERS[0]
    values ^= np.right_shift(values, 13, out=shifted)
    values *= _MIXERS[1]
    values ^= np.right_shift(values, 16, out=shifted)


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
