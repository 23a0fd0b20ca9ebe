"""On which devices a model computes, for what XLA does not split over them by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxbert.typing import Array


@dataclass(frozen=True)
class Placement:
    """A mesh, and its axes that split the rows of a batch and the heads of attention.

    Within a `jax.shard_map` over some of the axes, arrays are those of one device along them.
    """

    mesh: Mesh
    rows: tuple[str, ...]
    heads: str

    @property
    def platform(self) -> str:
        """What is compiled for, which need not be what this process runs on."""
        return str(self.mesh.devices.flat[0].platform)

    @property
    def here(self) -> Mesh | AbstractMesh:
        """The mesh of shardings of what is traced."""
        return jax.sharding.get_abstract_mesh() if self.apart else self.mesh

    @property
    def apart(self) -> tuple[str, ...]:
        """The axes of rows along which arrays are those of one device."""
        manual = jax.sharding.get_abstract_mesh().manual_axes
        return tuple(axis for axis in self.rows if axis in manual)

    @property
    def by_row(self) -> PartitionSpec:
        """Of an array [batch, ...], as it is here."""
        return PartitionSpec(self._rows_here)

    @property
    def by_head(self) -> PartitionSpec:
        """Of an array [batch, heads, ...], as it is here."""
        return PartitionSpec(self._rows_here, self.heads)

    @property
    def by_late_head(self) -> PartitionSpec:
        """Of an array [batch, seq, heads, ...], as it is here."""
        return PartitionSpec(self._rows_here, None, self.heads)

    @property
    def _rows_here(self) -> tuple[str, ...] | None:
        return tuple(axis for axis in self.rows if axis not in self.apart) or None

    def each(
        self,
        function: Callable[..., Array],
        in_specs: tuple[PartitionSpec, ...],
        out_specs: PartitionSpec,
    ) -> Callable[..., Array]:
        """`function` called by every device with its part."""
        return jax.shard_map(
            function,
            mesh=self.here,
            in_specs=in_specs,
            out_specs=out_specs,
            axis_names=set(self.mesh.axis_names) - set(self.apart),
            check_vma=False,
        )


_PLACEMENT: ContextVar[Placement | None] = ContextVar("placement", default=None)


@contextmanager
def placed(placement: Placement) -> Iterator[None]:
    """What is traced within computes there."""
    token = _PLACEMENT.set(placement)
    try:
        yield
    finally:
        _PLACEMENT.reset(token)


def current_placement() -> Placement | None:
    """None: nobody has said."""
    return _PLACEMENT.get()


def current_platform() -> str:
    """ "cpu", "gpu" or "tpu"."""
    placement = current_placement()
    return jax.default_backend() if placement is None else placement.platform


def is_undivided() -> bool:
    """Arrays are whole, or are those of one device."""
    placement = current_placement()
    if placement is None:
        return True
    sizes = placement.mesh.shape
    return all(axis in placement.apart for axis in sizes if sizes[axis] > 1)


def first_row(num_rows: int) -> Array | int:
    """The number in the whole batch of the first of `num_rows` rows that are here."""
    placement = current_placement()
    if placement is None or not placement.apart:
        return 0
    return jax.lax.axis_index(placement.apart) * num_rows


def all_rows(x: Array) -> Array:
    """[batch, ...] of the whole batch, where `x` has the rows that are here.

    For losses between rows: a device sums those of its own rows, as gradients expect.
    """
    placement = current_placement()
    if placement is None or not placement.apart:
        return x
    return jax.lax.all_gather(x, placement.apart, tiled=True)


def sum_of_all_rows(x: Array) -> Array:
    """The sum over the whole batch, where `x` is that of the rows that are here."""
    placement = current_placement()
    if placement is None or not placement.apart:
        return x
    return jax.lax.psum(x, placement.apart)


def varying_alike(*arrays: Array) -> tuple[Array, ...]:
    """`arrays`, of which in somebody's `jax.shard_map` each varies over devices where one does.

    A gradient by hand is of the type of what it is a gradient of, so a parameter that all devices
    share goes in as theirs: JAX then adds its gradients up.
    """
    varying = [_varying(array) for array in arrays]
    axes = frozenset[str]().union(*varying)
    return tuple(
        jax.lax.pcast(array, tuple(axes - own), to="varying") if own != axes else array
        for array, own in zip(arrays, varying, strict=True)
    )


def _varying(array: Array) -> frozenset[str]:
    # The name of the attribute has changed with versions of JAX; nothing else depends on it.
    kind = getattr(jax.typeof(array), "manual_axis_type", None)
    return frozenset() if kind is None else frozenset(kind.varying)
