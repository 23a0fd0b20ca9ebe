"""Four real processes on a mesh whose tensor axis spans them, and a state that none holds whole."""

import json
import sys
from typing import Any

import jax
import numpy as np
import pytest
from four_processes import NUM_STEPS, PARTS, SHAPE, large, training
from launching import start
from training.small_bert import one_device, pretraining_batch

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.checkpoint.preservation import CheckpointConfig

if not sys.platform.startswith("linux"):
    pytest.skip("peaks of memory are read from /proc", allow_module_level=True)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """By each of the processes."""
    directory = tmp_path_factory.mktemp("four")
    checkpoints = Checkpoints(directory / "large", CheckpointConfig())
    whole = jax.device_put(large((slice(None), slice(None))), jax.devices()[0])
    checkpoints.save(1, {"kernel": whole}, {}, {})
    checkpoints.close()
    started = start("four_processes.py", directory, 4, directory)
    assert started.wait(240) == [0, 0, 0, 0], started.printed()
    return [json.loads((directory / f"four_{i}.json").read_text()) for i in range(4)]


def test_losses_are_those_of_one_process(seen: list[dict[str, Any]]):
    made = training(one_device())
    batches = [pretraining_batch(number) for number in range(NUM_STEPS)]
    expected = [float(metrics["loss"]) for _, metrics in made.run(batches, PARTS)]
    for process in seen:
        assert process["losses"] == seen[0]["losses"]
    np.testing.assert_allclose(seen[0]["losses"], expected, rtol=0, atol=1e-5)


def test_a_checkpoint_of_one_process_is_restored_in_any_parts_of_which_no_process_holds_all(
    seen: list[dict[str, Any]],
):
    size = 4 * np.prod(SHAPE)
    for process in seen:
        assert process["exact"] == [True, True]
        # A quarter as it is read and as it is placed, and some chunks on their way.
        assert max(process["grown"]) < 0.8 * size, process["grown"]


def test_no_process_holds_a_state_while_all_of_them_save_it(seen: list[dict[str, Any]]):
    """Fully sharded: what a process copies, compresses and writes is its own quarter."""
    for process in seen:
        held, whole = process["state"]
        assert whole > 2**27
        assert held < 0.3 * whole
        assert process["grown_by_saving"] < 0.5 * whole, process


def test_no_process_holds_a_batch_whose_rows_all_of_them_make(seen: list[dict[str, Any]]):
    for process in seen:
        made, held, whole = process["batch"]
        assert made == held == whole / 4
        # Its rows as they are made, and on the device.
        assert process["grown_by_batch"] < 0.6 * whole, process
