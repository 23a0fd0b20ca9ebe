"""Low-rank factors that join a model's parameters, and that are merged into them."""

import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxbert.nn.lora import LoRA, factors_of, is_factor
from jaxbert.tree import flat
from jaxbert.typing import Array, Params


def with_factors(params: Params, lora: LoRA, seed: int) -> Params:
    """The same model with factors beside the kernels that `lora` names; other leaves are shared.

    A is drawn as peft does it, uniformly within 1 / sqrt(inputs), and B is zero, so that outputs
    are what they were. Raises UserError where a pattern of `lora` fits no layer.
    """
    leaves = flat(params)
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    kernels = {path: shapes[path] for path in lora.kernels(shapes)}
    drawn = jax.jit(partial(_drawn, kernels, lora.rank))(jax.random.key(seed))
    return unflatten_dict({**leaves, **drawn}, sep="/")


def merged(params: Params, lora: LoRA) -> Params:
    """The model that computes the same without factors: kernel + A @ B * scale."""
    leaves = flat(params)

    def whole(path: str, leaf: Any) -> Any:
        a, b = factors_of(path)
        return leaf + _product(leaves[a], leaves[b]) * lora.scale if a in leaves else leaf

    kept = {path: whole(path, leaf) for path, leaf in leaves.items() if not is_factor(path)}
    return unflatten_dict(kept, sep="/")


def _drawn(kernels: Mapping[str, tuple[int, ...]], rank: int, key: Array) -> dict[str, Array]:
    factors = {}
    for path, (inputs, outputs) in kernels.items():
        a, b = factors_of(path)
        own, bound = jax.random.fold_in(key, zlib.crc32(path.encode())), inputs**-0.5
        factors[a] = jax.random.uniform(own, (inputs, rank), minval=-bound, maxval=bound)
        factors[b] = jnp.zeros((rank, outputs))
    return factors


def _product(a: Any, b: Any) -> Any:
    return a @ b if isinstance(a, np.ndarray) else jnp.matmul(a, b, precision="highest")
