"""On which devices a model computes, for the kernels that XLA cannot split over them by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax
from jax.sharding import Mesh, PartitionSpec


@dataclass(frozen=True)
class Placement:
    """A mesh, and its axes that split the rows of a batch and the heads of attention."""

    mesh: Mesh
    rows: tuple[str, ...]
    heads: str

    @property
    def platform(self) -> str:
        """What is compiled for, which need not be what this process runs on."""
        return str(self.mesh.devices.flat[0].platform)

    @property
    def by_row(self) -> PartitionSpec:
        """Of an array [batch, ...]."""
        return PartitionSpec(self.rows)

    @property
    def by_head(self) -> PartitionSpec:
        """Of an array [batch, heads, ...]."""
        return PartitionSpec(self.rows, self.heads)


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
