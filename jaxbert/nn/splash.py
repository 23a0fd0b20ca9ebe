"""Attention by JAX's splash kernels for TPUs (Pallas), which keep the weights in vector memory.

Splash rather than `flash_attention` beside it: it takes fewer instructions, skips the blocks
outside a local window, and shares keys among query heads.
"""

from functools import cache

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    BlockSizes,
    FullMask,
    LocalMask,
    MultiHeadMask,
    SegmentIds,
    make_splash_mha,
)
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask import Mask
from jaxtyping import Float, Int

from jaxbert.nn.execution import ATTENDED
from jaxbert.nn.kernels import LANES, NO_ID, split_over_heads, whole_lanes
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.nn.placement import current_placement, current_platform
from jaxbert.typing import Array

_LARGEST_BLOCK = 512


def splash_attention(
    query: Float[Array, "batch seq heads head_dim"],
    keys: Float[Array, "batch seq shared head_dim"],
    value: Float[Array, "batch seq shared head_dim"],
    query_ids: Int[Array, "batch seq"],
    key_ids: Int[Array, "batch seq"],
    reach: int | None = None,
) -> Float[Array, "batch seq heads head_dim"]:
    """Attends where the ids are equal, and at most `reach` positions away.

    A query without any key is finite and means nothing. Off TPU the kernels are interpreted.
    """
    placement, length = current_placement(), query.shape[1]
    scaled = query.astype(jnp.float32) * query.shape[-1] ** -0.5
    if placement is not None:
        keys, value = split_over_heads(placement, query, keys, value)
    inputs = [_by_head(x) for x in (scaled.astype(query.dtype), keys, value)]
    inputs += [whole_lanes(x, axis=1, fill=NO_ID) for x in (query_ids, key_ids)]
    interpret = current_platform() != "tpu"

    def attend(*inputs: Array) -> Array:
        return _kernels(*inputs, reach=reach, interpret=interpret)

    if placement is not None:
        rows, heads = placement.by_row, placement.by_head
        attend = placement.each(attend, (heads, heads, heads, rows, rows), heads)
    return attend(*inputs)[:, :, :length].swapaxes(1, 2)


def _kernels(
    query: Array,
    keys: Array,
    value: Array,
    query_ids: Array,
    key_ids: Array,
    *,
    reach: int | None,
    interpret: bool,
) -> Array:
    """Of one device; [batch, heads, seq, head_dim], whole blocks of positions."""
    _, heads, length, _ = query.shape
    block = block_size(length)
    kernel = make_splash_mha(
        MultiHeadMask([_mask(length, reach)] * heads),
        block_sizes=BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            use_fused_bwd_kernel=True,
        ),
        mask_value=MASKED_SCORE,
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
        residual_checkpoint_name=ATTENDED,
    )
    return jax.vmap(kernel)(query, keys, value, SegmentIds(query_ids, key_ids))


def block_size(length: int) -> int:
    """Positions that are worked on at a time: the largest block that divides the length."""
    assert length % LANES == 0
    return max(n for n in range(LANES, _LARGEST_BLOCK + 1, LANES) if length % n == 0)


@cache
def _mask(length: int, reach: int | None) -> Mask:
    # The same object for all layers: the kernels are traced once for every one of its functions.
    if reach is None or reach >= length:
        return FullMask((length, length))
    return LocalMask((length, length), (reach, reach), offset=0)


def _by_head(x: Array) -> Array:
    return whole_lanes(x.swapaxes(1, 2), axis=2)
