"""Reading a checkpoint beside the run that makes and deletes others."""

import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.checkpoint.reading import read_params, read_run
from jaxbert.errors import UserError
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.state import TrainState

RUN = {"config": {"seed": 0}, "architecture": [{"hidden_size": 16}]}
KERNEL = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state that is split over a mesh of eight."""
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    kernel = jax.device_put(KERNEL, NamedSharding(mesh, PartitionSpec("fsdp", "tensor")))
    params = {"layers": {"0": {"kernel": kernel}}, "bias": np.float32([1, 2])}
    state = TrainState(np.int32(5), params, (params, {}))
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run"), CheckpointConfig())
    checkpoints.save(5, state, RUN, {})
    checkpoints.close()
    return checkpoints._directory / "5"


def test_the_parameters_are_whole_arrays_of_the_host_whatever_held_them(saved, caplog):
    params = read_params(saved)
    assert isinstance(params["layers"]["0"]["kernel"], np.ndarray)
    np.testing.assert_array_equal(params["layers"]["0"]["kernel"], KERNEL)
    np.testing.assert_array_equal(params["bias"], np.float32([1, 2]))
    assert {*params} == {"layers", "bias"}
    assert read_run(saved) == RUN
    assert caplog.records == [], "whoever calls it is warned of nothing"


def test_nothing_but_the_parameters_is_read(saved, monkeypatch):
    read = []
    restore = ocp.type_handlers.NumpyHandler.deserialize

    def noted(self, infos, args=None):
        read.extend(info.name for info in infos)
        return restore(self, infos, args)

    monkeypatch.setattr(ocp.type_handlers.NumpyHandler, "deserialize", noted)
    read_params(saved)
    assert sorted(read) == ["params.bias", "params.layers.0.kernel"]


def test_a_checkpoint_with_any_file_gone_or_cut_off_is_refused(saved, tmp_path):
    files = [path for item in ("state", "run") for path in (saved / item).rglob("*")]
    names = [path.relative_to(saved) for path in files if path.is_file()]
    for number, name in enumerate([*names, "manifest.json"]):
        copy = tmp_path / str(number)
        shutil.copytree(saved, copy)
        if number % 2:
            (copy / name).unlink()
        else:
            (copy / name).write_bytes((copy / name).read_bytes()[:-1])
        for read in (read_params, read_run):
            with pytest.raises(UserError, match=f"{number} is damaged .*: take another checkpoint"):
                read(copy)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_checkpoint_that_the_run_deletes_meanwhile_is_not_taken(
    saved, tmp_path, monkeypatch, when
):
    copy, restore = tmp_path / "5", ocp.PyTreeCheckpointHandler.restore
    shutil.copytree(saved, copy)

    def late(*args, **options):
        if when == "before":
            shutil.rmtree(copy)
        found = restore(*args, **options)
        shutil.rmtree(copy)
        return found

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "restore", late)
    with pytest.raises(UserError, match="5 is no longer there: the run has replaced it"):
        read_params(copy)
