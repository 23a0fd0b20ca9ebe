"""Rows of batches by number and their way onto a mesh, as one process sees it."""

from typing import Any

import numpy as np
import pytest
from jax.sharding import Mesh

from jaxbert.errors import UserError
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rows import RowPlacement


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))


def test_one_process_makes_every_row_in_order(mesh: Mesh):
    for microbatches in (None, 1, 3):
        numbers = RowPlacement(mesh, microbatches).numbers(24)
        np.testing.assert_array_equal(numbers, np.arange(24))


@pytest.mark.parametrize("microbatches", [None, 3])
def test_every_device_gets_the_rows_of_its_place(mesh: Mesh, microbatches: int | None):
    rows = np.arange(24 * 5, dtype=np.int32).reshape(24, 5)
    placed = RowPlacement(mesh, microbatches).put({"input_ids": rows})["input_ids"]
    whole: Any = rows if microbatches is None else rows.reshape(3, 8, 5)
    np.testing.assert_array_equal(placed, whole)
    width = 6 if microbatches is None else 2
    for shard in placed.addressable_shards:
        ((_, data, fsdp, _),) = np.argwhere(mesh.devices == shard.device)
        first = width * (2 * data + fsdp)
        np.testing.assert_array_equal(shard.data, whole[..., first : first + width, :])


@pytest.mark.parametrize("microbatches", [None, 2])
def test_rows_that_devices_cannot_share_are_refused(mesh: Mesh, microbatches: int | None):
    rows = np.zeros((6 * (microbatches or 1), 5), np.int32)
    with pytest.raises(UserError, match=r"^6 rows: the mesh splits rows into 4 parts"):
        RowPlacement(mesh, microbatches).put({"input_ids": rows})
