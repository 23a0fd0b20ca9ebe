"""Which code computes attention: XLA's own, or kernels that never write the weights to memory."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from jaxbert.errors import UserError
from jaxbert.nn.execution import AttentionSetting, Kernel
from jaxbert.nn.placement import Placement, current_placement, current_platform
from jaxbert.typing import Array

LANES = 128
"""Of a TPU's registers; kernels take rows of a multiple of it."""
NO_ID = -1
"""The example that no token is of: what rows are filled up with."""
FUSED_FROM, SPLASH_FROM = 384, 1024
"""Tokens of a row from which `auto` takes a kernel on a TPU; docs/attention.md has the figures."""
_FUSED_TO = 2048
"""The longest rows of which the scores of some queries, of two heads, fit vector memory."""
_SPLASH_HEAD = 64
"""Width of the heads for which it was compiled and compared."""
_PLATFORMS = {"fused": ("tpu", "cpu"), "splash": ("tpu", "cpu"), "cudnn": ("gpu",)}
"""On a CPU kernels for TPUs are interpreted, which is for tests."""


@dataclass(frozen=True)
class AttentionCall:
    """What decides, of the layers of one type in one call of a model."""

    length: int
    num_heads: int
    head_dim: int
    dtype: DTypeLike
    is_disentangled: bool = False
    is_biased: bool = False
    """A bias is added to the scores."""
    drops_weights: bool = False
    """Dropout acts on attention weights."""
    is_local: bool = False
    """Each token attends to a window."""
    wants_weights: bool = False
    """The caller is to have the weights."""


def choose_kernel(setting: AttentionSetting, call: AttentionCall) -> Kernel:
    """What computes attention, decided while tracing; UserError where `setting` cannot.

    Weights that the caller wants exist in XLA's alone, which then computes them.
    """
    if setting == "xla" or call.wants_weights:
        return "xla"
    if setting == "auto":
        return _best(call)
    _check(setting, call)
    return setting


def _best(call: AttentionCall) -> Kernel:
    # Only a placement says how to split a kernel over devices. cuDNN's is not measured yet.
    if current_placement() is None or current_platform() != "tpu":
        return "xla"
    if call.is_disentangled or call.is_biased:
        return "xla"
    if call.length >= FUSED_FROM and _why_not_fused(call) is None:
        return "fused"
    if call.drops_weights or call.head_dim != _SPLASH_HEAD:
        return "xla"
    return "splash" if call.length >= SPLASH_FROM else "xla"


def _check(setting: Kernel, call: AttentionCall) -> None:
    platform = current_platform()
    if call.is_disentangled:
        raise UserError(
            f"execution.attention={setting!r}: no kernel computes the scores of disentangled "
            "attention (DeBERTa); set execution.attention=auto"
        )
    if call.is_biased:
        raise UserError(
            f"execution.attention={setting!r}: no kernel adds a bias to the scores (MPNet); set "
            "execution.attention=auto"
        )
    if call.drops_weights and setting != "fused":
        raise UserError(
            f"execution.attention={setting!r} has no dropout of attention weights: set "
            "attention_probs_dropout_prob=0, which is another recipe, or execution.attention=auto"
        )
    if platform not in _PLATFORMS[setting]:
        raise UserError(
            f"execution.attention={setting!r} runs on {_PLATFORMS[setting][0]}, and this is "
            f"{platform}: set execution.attention=auto"
        )
    if setting == "cudnn" and (call.dtype != jnp.bfloat16 or call.head_dim % 8):
        raise UserError(
            f"execution.attention='cudnn' takes bfloat16 and heads whose width is a multiple of 8, "
            f"found {jnp.dtype(call.dtype)} and {call.head_dim}: set execution.attention=auto"
        )
    why_not = _why_not_fused(call) if setting == "fused" else None
    if why_not is not None:
        raise UserError(
            f"execution.attention='fused' takes {why_not}: set execution.attention=auto"
        )


def _why_not_fused(call: AttentionCall) -> str | None:
    placement = current_placement()
    parts = 1 if placement is None else placement.mesh.shape[placement.heads]
    heads = call.num_heads // parts
    if call.is_local:
        return "no local windows"
    longest = min(_FUSED_TO, 2 * _FUSED_TO * call.head_dim // LANES)
    if call.length > longest:
        return f"rows of at most {longest} tokens, found {call.length}"
    if call.head_dim > LANES or LANES % call.head_dim or heads * call.head_dim % LANES:
        return (
            f"heads that together fill registers of {LANES}, found on a device {heads} of a width "
            f"of {call.head_dim}"
        )
    return None


def cudnn_attention(
    query: Float[Array, "batch seq heads head_dim"],
    keys: Float[Array, "batch seq shared head_dim"],
    value: Float[Array, "batch seq shared head_dim"],
    mask: Bool[Array, "batch 1 #seq seq"],
) -> Float[Array, "batch seq heads head_dim"]:
    """cuDNN's fused attention; JAX makes a dense bias, [batch, 1, seq, seq], of the mask."""
    batch, length, *_ = query.shape
    whole = jnp.broadcast_to(mask, (batch, 1, length, length))

    def attend(query: Array, keys: Array, value: Array, mask: Array) -> Array:
        return jax.nn.dot_product_attention(query, keys, value, mask=mask, implementation="cudnn")

    placement = current_placement()
    if placement is None:
        return attend(query, keys, value, whole)
    keys, value = split_over_heads(placement, query, keys, value)
    heads = placement.by_late_head
    split = placement.each(attend, (heads, heads, heads, placement.by_row), heads)
    return split(query, keys, value, whole)


def split_over_heads(
    placement: Placement,
    query: Float[Array, "batch seq heads head_dim"],
    keys: Float[Array, "batch seq shared head_dim"],
    value: Float[Array, "batch seq shared head_dim"],
) -> tuple[Array, Array]:
    """Keys and values, repeated for every query head where devices cannot share fewer."""
    if not keys.shape[2] % placement.mesh.shape[placement.heads]:
        return keys, value
    shared_by = query.shape[2] // keys.shape[2]
    return jnp.repeat(keys, shared_by, axis=2), jnp.repeat(value, shared_by, axis=2)


def whole_lanes(x: Array, axis: int = 1, fill: int = 0) -> Array:
    """With `fill` behind the rows along `axis`, so that their length is a multiple of LANES."""
    widths = [(0, -x.shape[axis] % LANES if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=fill)
