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
    ],
)
def test_the_axis_that_is_minus_one_takes_the_rest(
    config: MeshConfig, shape: tuple[int, ...], rows: int
):
    mesh = make_mesh(config)
    assert mesh.axis_names == ("replica", "data", "fsdp", "tensor")
    assert mesh.devices.shape == shape
    assert row_shards(mesh) == rows


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
        (MeshConfig(tensor=-2), "sizes are positive"),
    ],
)
def test_sizes_that_do_not_multiply_to_the_devices_are_refused(config: MeshConfig, message: str):
    with pytest.raises(UserError, match=message):
        make_mesh(config)
