"""Low-rank factors beside the kernels of dense layers (Hu et al. 2021, LoRA)."""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn.linear import Linear, LowRank
from jaxbert.options import check_options
from jaxbert.tree import check_pattern, matches

A, B = "lora_a", "lora_b"
"""Names of the factors, beside their `kernel`: [in, rank] and [rank, out]."""
_LAYERS, _KERNEL = "encoder/layers/", "/kernel"


@dataclass(frozen=True)
class LoRA:
    """What is trained in place of the encoder: x @ W + (dropout(x) @ A) @ B * scale.

    docs/strategies.md has the names of peft's options, whose defaults these are.
    """

    rank: Annotated[int, Ge(1)] = 8
    """Columns of A and rows of B."""
    alpha: Annotated[float, Gt(0)] = 8.0
    """The scale is alpha / rank."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Of what A reads; the product with W reads everything."""
    targets: tuple[str, ...] = (r"attention/(query|value)",)
    """Regular expressions of parameter paths: the dense layers within encoder/layers that have
    factors, such as `attention/.*` or `encoder/layers/1[0-9]/mlp/(up|down)`."""
    rslora: bool = False
    """The scale is alpha / sqrt(rank), which keeps larger ranks learning (Kalajdzievski 2023)."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def scale(self) -> float:
        """What the product with the factors is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def kernels(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """The paths of the kernels that have factors, of the `shapes` of a model's parameters.

        Raises UserError for a pattern that fits none.
        """
        dense = [p for p in shapes if p.startswith(_LAYERS) and p.endswith(_KERNEL)]
        for pattern in self.targets:
            check_pattern("lora.targets", pattern, dense, what="dense layer within encoder/layers")
        if not self.targets:
            raise UserError("lora.targets=[]: no layer would learn: name some, or leave lora out")
        return [path for path in dense if matches(self.targets, path)]


def factors_of(kernel: str) -> tuple[str, str]:
    """The paths of A and B beside a kernel."""
    layer = kernel.removesuffix(_KERNEL)
    return f"{layer}/{A}", f"{layer}/{B}"


def add_factors(model: nnx.Module, lora: LoRA) -> None:
    """Gives the dense layers of a model that `lora` names their factors, which are zero."""
    layers = {"/".join(map(str, path)): layer for path, layer in nnx.iter_modules(model)}
    dense = {f"{path}{_KERNEL}": x for path, x in layers.items() if isinstance(x, Linear)}
    for path in lora.kernels({path: layer.kernel.shape for path, layer in dense.items()}):
        layer = dense[path]
        inputs, outputs = layer.kernel.shape
        layer.lora_a = nnx.Param(jnp.zeros((inputs, lora.rank), jnp.float32))
        layer.lora_b = nnx.Param(jnp.zeros((lora.rank, outputs), jnp.float32))
        layer.low_rank = LowRank(lora.scale, lora.dropout, zlib.crc32(path.encode()))


def is_factor(path: str) -> bool:
    """Whether a parameter is one of the factors."""
    return path.endswith((f"/{A}", f"/{B}"))
