"""How a model is computed. None of it changes what is computed, beyond the last bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax

Remat = Literal["none", "products", "full"]

_POLICIES = {
    # Products with a batch dimension are attention's, quadratic in the length.
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


@dataclass(frozen=True)
class Execution:
    """What trades time for memory."""

    remat: Remat = "none"
    """What the backward pass computes again. products: in every layer all but the matrix products
    with parameters, attention's weights among it; full: whole layers, of which the input is kept.
    """

    def rematerialised(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """`layer` with what is saved for its backward pass."""
        if self.remat == "none":
            return layer
        return jax.checkpoint(layer, policy=_POLICIES[self.remat])


PLAIN = Execution()
"""Everything is kept."""
