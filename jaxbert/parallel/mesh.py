"""The device mesh. Four axes, always all present, so that no code asks which exist."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxbert.errors import UserError

AXES = ("replica", "data", "fsdp", "tensor")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; one of them may be -1: all that remain.

    `replica` goes across slices (data-centre network), `data` and `fsdp` split the batch,
    `fsdp` splits parameters too, `tensor` splits heads, feed-forward and vocabulary.
    """

    replica: int = 1
    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh over `devices` (default: all); UserError when the counts do not multiply."""
    devices = jax.devices() if devices is None else devices
    shape = _shape([getattr(config, axis) for axis in AXES], len(devices))
    return jax.make_mesh(shape, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def _shape(sizes: list[int], num_devices: int) -> tuple[int, ...]:
    named = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    fixed = int(np.prod([size for size in sizes if size != -1]))
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(f"mesh: {named}: sizes are positive, and at most one is -1 (the rest)")
    if num_devices % fixed or (-1 not in sizes and fixed != num_devices):
        raise UserError(
            f"mesh: {named} needs {'a multiple of ' if -1 in sizes else ''}{fixed} devices, "
            f"there are {num_devices}"
        )
    return tuple(num_devices // fixed if size == -1 else size for size in sizes)
