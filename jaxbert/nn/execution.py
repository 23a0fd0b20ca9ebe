"""How a model is computed. None of it changes what is computed, beyond the last bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax.ad_checkpoint import checkpoint_name

from jaxbert.nn.placement import current_platform
from jaxbert.options import check_options
from jaxbert.typing import Array

Remat = Literal["none", "attention", "products", "full"]
Kernel = Literal["xla", "fused", "splash", "cudnn"]
AttentionSetting = Literal["auto", "xla", "fused", "splash", "cudnn"]

ATTENDED, _PRODUCT = "attended", "product"
"""Names of what may be kept."""
_POLICIES = {
    "attention": jax.checkpoint_policies.save_only_these_names(ATTENDED),
    "products": jax.checkpoint_policies.save_only_these_names(_PRODUCT, ATTENDED),
    "full": jax.checkpoint_policies.nothing_saveable,
}


@dataclass(frozen=True)
class Execution:
    """What trades time for memory, and by which code attention is computed."""

    remat: Remat = "none"
    """What the backward pass computes again. attention: its weights, quadratic in the length;
    products: in every layer all but the matrix products with parameters and the attended values;
    full: whole layers, of which the input is kept.
    """
    attention: AttentionSetting = "auto"
    """xla: products and softmax as XLA fuses them; fused: our kernels for TPUs, with dropout of
    weights; splash: JAX's, for longer rows and windows; cudnn: fused attention on GPUs. auto: by
    platform, length and heads (docs/attention.md).
    """

    def __post_init__(self) -> None:
        check_options(self)

    def rematerialised(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """`layer` with what is saved for its backward pass."""
        if self.remat in ("none", "attention"):
            return layer
        return jax.checkpoint(layer, policy=_POLICIES[self.remat])

    def rematerialised_attention(self, attend: Callable[..., Any]) -> Callable[..., Any]:
        """`attend`, from queries, keys and values on, with what is saved for its backward pass."""
        if self.remat != "attention":
            return attend
        return jax.checkpoint(attend, policy=_POLICIES[self.remat])


PLAIN = Execution()
"""Everything is kept."""


def for_several_products(x: Array) -> Array:
    """`x`, which on TPUs is in memory before any product with it begins.

    XLA:TPU computes the norm in front of queries, keys and values again in each of the products
    that give the kernels' gradients, and the matrix unit waits for it: 56 us for one that takes 31.
    """
    return _written(x) if current_platform() == "tpu" else x


@jax.custom_jvp
def _written(x: Array) -> Array:
    return jax.lax.optimization_barrier(x)


@_written.defjvp
def _written_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Nothing holds up gradients, which the derivative of a barrier would.
    return _written(*primals), tangents[0]


def as_product(x: Array) -> Array:
    """`x`, marked as a product with parameters, in the dtype in which it may be kept."""
    return checkpoint_name(x, _PRODUCT)


def as_attended(x: Array) -> Array:
    """`x`, marked as the values that attention summed."""
    return checkpoint_name(x, ATTENDED)
