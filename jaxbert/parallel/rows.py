"""Which rows of a batch this process makes, and their way onto the mesh."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from jaxbert.errors import UserError
from jaxbert.parallel.rules import ROWS, batch_sharding, row_shards
from jaxbert.typing import Batch, HostBatch

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class RowPlacement:
    """The rows of a batch, split over the mesh; of several microbatches one after another.

    Microbatch i of n is the i-th n-th of a batch, and is split as a batch of its own. A process
    makes the rows that its devices hold, which need not be neighbours; where an axis that does not
    split rows spans processes, several make the same rows.
    """

    mesh: Mesh
    microbatches: int | None = None
    """None: no leading axis, as evaluation has it."""

    @property
    def sharding(self) -> NamedSharding:
        """Of what `put` gives."""
        return batch_sharding(self.mesh, microbatches=self.microbatches is not None)

    @property
    def copies(self) -> int:
        """How many processes make each row."""
        made = {(d.process_index, shard) for d, shard in self._shards_of_devices().items()}
        return len(made) // row_shards(self.mesh)

    def numbers(self, num_rows: int) -> Indices:
        """The numbers, ascending, of the rows that this process makes of a batch of `num_rows`."""
        count = self.microbatches or 1
        size = num_rows // count
        assert num_rows == count * size, (num_rows, count)
        firsts = size * np.arange(count)
        return (firsts[:, None] + self._held(size)).ravel()

    def put(self, batch: HostBatch) -> Batch:
        """This process's rows, in the order of their numbers, as a global batch on the devices.

        With microbatches [microbatches, rows, ...], else [rows, ...]. Raises UserError for rows
        that the devices cannot share equally.
        """
        return {name: self._put(values) for name, values in batch.items()}

    def _put(self, values: np.ndarray) -> jax.Array:
        count = self.microbatches or 1
        local = values.reshape(count, len(values) // count, *values.shape[1:])
        size = local.shape[1] * row_shards(self.mesh) // len(self._shards())
        held = self._held(size)

        def piece(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            start, stop, _ = index[-1 - len(values.shape[1:])].indices(size)
            first = int(np.searchsorted(held, start))
            part = local[:, first : first + stop - start]
            return part if self.microbatches is not None else part[0]

        leading = () if self.microbatches is None else (count,)
        shape = (*leading, size, *values.shape[1:])
        return jax.make_array_from_callback(shape, self.sharding, piece)

    def _held(self, size: int) -> Indices:
        """The rows of this process in one microbatch of `size` rows."""
        parts = row_shards(self.mesh)
        width = size // parts
        if size != width * parts:
            raise UserError(
                f"{size} rows: the mesh splits rows into {parts} parts, so give a multiple of it"
            )
        return (width * self._shards()[:, None] + np.arange(width)).ravel()

    def _shards(self) -> Indices:
        """The numbers, ascending, of the parts of a batch that this process's devices hold."""
        own, shards = jax.process_index(), self._shards_of_devices()
        return np.unique([shard for d, shard in shards.items() if d.process_index == own])

    def _shards_of_devices(self) -> dict[jax.Device, int]:
        count = row_shards(self.mesh)
        places = NamedSharding(self.mesh, PartitionSpec(ROWS)).devices_indices_map((count,))
        return {
            device: index[0].indices(count)[0]
            for device, index in places.items()
            if index is not None
        }
