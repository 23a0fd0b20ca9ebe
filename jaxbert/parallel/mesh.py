"""The device mesh. Four axes, always all present, so that no code asks which exist."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh

from jaxbert.errors import UserError
from jaxbert.options import check_options

AXES = ("replica", "data", "fsdp", "tensor")
_MOST_PARTS = 16
"""Of a state that is split to save time: of more, the compiler for v5e:16x16 makes reductions."""


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis; one of them may be -1: all that remain."""

    replica: int = 1
    """Splits the batch across slices, which the data-centre network connects."""
    data: int = -1
    """Splits the batch."""
    fsdp: int | Literal["auto"] = 1
    """Splits the batch, parameters and the optimiser's state; auto: the largest of 16, 8, 4 and 2
    that the devices divide by, and the others to `data`."""
    tensor: int = 1
    """Splits heads, feed-forward and vocabulary."""

    def __post_init__(self) -> None:
        check_options(self)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh over `devices` (default: all); UserError when the counts do not multiply.

    Devices of a slice stand side by side: `replica` alone leads from one slice to another.
    """
    devices = jax.devices() if devices is None else devices
    num_slices = _num_slices(devices)
    replicas, *shape = abstract_mesh(config, len(devices), num_slices).axis_sizes
    # Not jax.make_mesh: it takes one slice only, and on most TPUs no axis that is part of a ring.
    if num_slices == 1:
        placed = mesh_utils.create_device_mesh(
            (replicas, *shape), devices, allow_split_physical_axes=True
        )
    else:
        placed = mesh_utils.create_hybrid_device_mesh(
            (1, *shape), (num_slices, 1, 1, 1), devices, allow_split_physical_axes=True
        )
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def abstract_mesh(config: MeshConfig, num_devices: int, num_slices: int = 1) -> AbstractMesh:
    """The sizes of the axes alone; UserError when the counts do not multiply."""
    sizes = _shape(_sizes(config, num_devices), num_devices)
    if num_slices not in (1, sizes[0]):
        raise UserError(
            f"mesh.replica={sizes[0]}: there are {num_slices} slices, and replica is the axis "
            f"across them: set mesh.replica={num_slices}"
        )
    return AbstractMesh(sizes, AXES)


def _num_slices(devices: Sequence[jax.Device]) -> int:
    """Of TPUs that only the data centre's network connects."""
    if devices[0].platform != "tpu":
        return 1
    return len({getattr(device, "slice_index", 0) for device in devices})


def _sizes(config: MeshConfig, num_devices: int) -> list[int]:
    """Those of the configuration, with a number for `auto`."""
    fsdp = config.fsdp
    if fsdp == "auto":
        if config.data != -1:
            raise UserError(
                f"mesh.fsdp=auto leaves the other devices to mesh.data, which is {config.data}: "
                "set mesh.data=-1, or mesh.fsdp to a number"
            )
        left = num_devices // max(1, config.replica * config.tensor)
        fsdp = math.gcd(left or 1, _MOST_PARTS)
    return [config.replica, config.data, fsdp, config.tensor]


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
