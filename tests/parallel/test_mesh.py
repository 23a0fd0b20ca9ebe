from dataclasses import dataclass

import jax
import pytest

from jaxbert.errors import UserError
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import row_shards


@pytest.mark.parametrize(
    ("config", "shape", "rows"),
    [
        (MeshConfig(), (1, 8, 1, 1), 8),
        (MeshConfig(data=2, fsdp=2, tensor=2), (1, 2, 2, 2), 4),
        (MeshConfig(replica=2, fsdp=2), (2, 2, 2, 1), 8),
        (MeshConfig(data=1, tensor=-1), (1, 1, 1, 8), 1),
        (MeshConfig(fsdp="auto"), (1, 1, 8, 1), 8),
        (MeshConfig(fsdp="auto", tensor=4), (1, 1, 2, 4), 2),
        (MeshConfig(replica=2, fsdp="auto", tensor=2), (2, 1, 2, 2), 4),
    ],
)
def test_the_axis_that_is_minus_one_takes_the_rest(
    config: MeshConfig, shape: tuple[int, ...], rows: int
):
    mesh = make_mesh(config)
    assert mesh.axis_names == ("replica", "data", "fsdp", "tensor")
    assert mesh.devices.shape == shape
    assert row_shards(mesh) == rows


@pytest.mark.parametrize(
    ("num_devices", "data", "fsdp"), [(1, 1, 1), (2, 1, 2), (3, 3, 1), (6, 3, 2), (256, 16, 16)]
)
def test_fsdp_is_by_itself_a_power_of_two_up_to_16(num_devices: int, data: int, fsdp: int):
    devices = jax.devices()[:1] * num_devices
    assert make_mesh(MeshConfig(fsdp="auto"), devices).devices.shape == (1, data, fsdp, 1)


def test_a_mesh_may_span_some_of_the_devices():
    mesh = make_mesh(MeshConfig(fsdp=2), jax.devices()[:4])
    assert mesh.devices.shape == (1, 2, 2, 1)
    assert set(mesh.devices.flat) == set(jax.devices()[:4])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeshConfig(data=3), "data=3, .* needs 3 devices, there are 8"),
        (MeshConfig(tensor=3), "tensor=3 needs a multiple of 3 devices, there are 8"),
        (MeshConfig(fsdp=16), "needs a multiple of 16 devices, there are 8"),
        (MeshConfig(data=2, tensor=2), "needs 4 devices, there are 8"),
        (MeshConfig(data=-1, fsdp=-1), "at most one is -1"),
        (MeshConfig(data=0), "sizes are positive"),
        (MeshConfig(data=2, fsdp="auto"), "mesh.fsdp=auto leaves .* mesh.data, which is 2"),
        (MeshConfig(tensor=16, fsdp="auto"), "needs a multiple of 16 devices, there are 8"),
        (MeshConfig(tensor=0, fsdp="auto"), "sizes are positive"),
        (MeshConfig(tensor=-2), "sizes are positive"),
    ],
)
def test_sizes_that_do_not_multiply_to_the_devices_are_refused(config: MeshConfig, message: str):
    with pytest.raises(UserError, match=message):
        make_mesh(config)


@dataclass(frozen=True)
class Chip:
    """What a mesh is built of, where there are no TPUs."""

    id: int
    slice_index: int
    coords: tuple[int, int, int]
    platform: str = "tpu"
    device_kind: str = "TPU v6 lite"
    core_on_chip: int = 0
    process_index: int = 0


def slices_of_a_pod(number: int) -> list[Chip]:
    """Each of 4 x 4 chips, in an order that mixes them."""
    return [Chip(16 * n + i, n, (i % 4, i // 4, 0)) for i in range(16) for n in range(number)]


def test_replica_alone_leads_from_one_slice_to_another():
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), slices_of_a_pod(2))
    assert mesh.devices.shape == (2, 4, 2, 2)
    for number, devices in enumerate(mesh.devices):
        assert {chip.slice_index for chip in devices.flat} == {number}
    assert len(set(mesh.devices.flat)) == 32


def test_slices_without_an_axis_across_them_are_refused_with_its_value():
    with pytest.raises(UserError, match=r"there are 2 slices, .*: set mesh.replica=2$"):
        make_mesh(MeshConfig(), slices_of_a_pod(2))


def test_an_axis_may_be_a_part_of_a_ring_of_chips():
    mesh = make_mesh(MeshConfig(tensor=2), slices_of_a_pod(1))
    assert mesh.devices.shape == (1, 8, 1, 2)
