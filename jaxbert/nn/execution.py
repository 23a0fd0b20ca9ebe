"""How a model is computed. None of it changes what is computed, beyond the last bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax

Remat = Literal["none", "products", "full"]
Kernel = Literal["xla", "splash", "cudnn"]
AttentionSetting = Literal["auto", "xla", "splash", "cudnn"]

_POLICIES = {
    # Products with a batch dimension are attention's, quadratic in the length.
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


@dataclass(frozen=True)
class Execution:
    """What trades time for memory, and by which code attention is computed."""

    remat: Remat = "none"
    """What the backward pass computes again. products: in every layer all but the matrix products
    with parameters, attention's weights among it; full: whole layers, of which the input is kept.
    """
    attention: AttentionSetting = "auto"
    """xla: products and softmax as XLA fuses them; splash: JAX's kernels for TPUs; cudnn: fused
    attention on GPUs. auto: by platform, length and head (docs/attention.md); never a kernel where
    attention weights are dropped out, as none can.
    """

    def rematerialised(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """`layer` with what is saved for its backward pass."""
        if self.remat == "none":
            return layer
        return jax.checkpoint(layer, policy=_POLICIES[self.remat])


PLAIN = Execution()
"""Everything is kept."""
