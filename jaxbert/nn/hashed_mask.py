"""Dropout's mask of attention weights, hashed from their places: any part can be drawn anew."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int, UInt32

from jaxbert.nn.draws import by_row
from jaxbert.typing import Array


def draw_seeds(key: Array, batch: int, heads: int) -> UInt32[Array, "batch heads 2"]:
    """What every row's and head's mask follows from."""
    return by_row(lambda key, x: jax.random.bits(key, x.shape), key, jnp.zeros((batch, heads, 2)))


def kept_weights(
    seeds: UInt32[Array, "*shape 2"], length: int, dropped_of_256: int
) -> Bool[Array, "*shape seq seq"]:
    """[..., key, query]: the weights that dropout leaves; `length` is a multiple of four."""
    queries = jnp.arange(length)[None, :]

    def of_head(pair: UInt32[Array, "2"]) -> Bool[Array, "seq seq"]:
        return kept(pair[0], pair[1], length, queries, dropped_of_256)

    found = jax.vmap(of_head)(seeds.reshape(-1, 2))
    return found.reshape(*seeds.shape[:-1], length, length)


def kept(
    first: UInt32[Array, "*one"],
    second: UInt32[Array, "*one"],
    length: int,
    queries: Int[Array, "1 some"],
    dropped_of_256: int,
) -> Bool[Array, "seq some"]:
    """[key, query] for every key and some queries, within a kernel too.

    A place is hashed with two seeds, by Wellons' lowbias32 (2018) with the second seed added
    halfway. Keys that are a quarter of the row apart have the bytes of one word.
    """
    place = jax.lax.broadcasted_iota(jnp.int32, (length // 4, 1), 0) * length + queries
    word = place.astype(jnp.uint32) + first
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = ((word ^ (word >> 15)) + second) * jnp.uint32(0x846CA68B)
    word = word ^ (word >> 16)
    # As signed words, of which the highest byte decides: a TPU compares no bytes.
    words = [word, *(word << (8 * byte) for byte in (1, 2, 3))]
    least = jnp.int32((dropped_of_256 - 128) << 24)
    return jnp.concatenate([jax.lax.bitcast_convert_type(x, jnp.int32) >= least for x in words])
