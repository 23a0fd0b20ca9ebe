"""One process of four with a device each: steps on a mesh of 2 x 2, then what is large: an array
restored, a batch placed, a state saved.

Words: directory. Writes what this process saw to four_<i>.json there.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from launching import HEARTBEAT

from jaxbert.cli.processes import Processes, add_process_arguments

NUM_STEPS, PARTS = 6, 2
SHAPE = (16384, 4096)
VOCABULARY = 2**19
"""Of 24 numbers each: 144 MiB with the moments of the optimiser."""


def main(directory: Path) -> None:
    parser = argparse.ArgumentParser()
    add_process_arguments(parser)
    arguments = parser.parse_args(["--heartbeat-timeout", str(HEARTBEAT)])
    arguments.verb = "pretrain"
    with Processes(arguments):
        import jax

        seen: dict[str, Any] = {"losses": losses()}
        seen |= restored(directory / "large") | placed() | saved(directory / "saved")
        (directory / f"four_{jax.process_index()}.json").write_text(json.dumps(seen))


def losses() -> list[float]:
    """Of a small BERT with dropout, its heads and parameters split over processes."""
    from training.small_bert import ROWS, pretraining_batch

    from jaxbert.parallel.mesh import MeshConfig, make_mesh
    from jaxbert.parallel.rows import RowPlacement

    mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=2))
    made, placement = training(mesh), RowPlacement(mesh, PARTS)
    numbers = placement.numbers(ROWS)
    assert len(numbers) == ROWS // 2
    assert placement.copies == 2
    state, found = made.state, []
    for number in range(NUM_STEPS):
        own = {name: x[numbers] for name, x in pretraining_batch(number).items()}
        state, metrics = made.step(state, placement.put(own))
        found.append(float(metrics["loss"]))
    return found


def placed() -> dict[str, Any]:
    """A batch as large as the array: the bytes of this process's rows, and what they take."""
    import jax

    from jaxbert.parallel.mesh import MeshConfig, make_mesh
    from jaxbert.parallel.rows import RowPlacement

    placement = RowPlacement(make_mesh(MeshConfig(data=4)), PARTS)
    before = forget_peak()
    own = np.ones((len(placement.numbers(SHAPE[0])), SHAPE[1]), np.int32)
    batch = placement.put({"input_ids": own})["input_ids"]
    jax.block_until_ready(batch)
    held = sum(shard.data.nbytes for shard in batch.addressable_shards)
    return {"batch": [own.nbytes, held, batch.nbytes], "grown_by_batch": peak() - before}


def saved(directory: Path) -> dict[str, Any]:
    """A fully sharded state is saved: bytes of it here and in all, and what saving took."""
    import jax

    from jaxbert.checkpoint.checkpoints import Checkpoints
    from jaxbert.checkpoint.preservation import CheckpointConfig

    state = jax.tree.map(of_ones, sharded_state())
    leaves = jax.tree.leaves(state)
    checkpoints = Checkpoints(directory, CheckpointConfig())
    before = forget_peak()
    checkpoints.save(1, state, {}, {})
    checkpoints.wait()
    grown = peak() - before
    checkpoints.close()
    held = sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards)
    return {"state": [held, sum(leaf.nbytes for leaf in leaves)], "grown_by_saving": grown}


def sharded_state() -> Any:
    """Of a BERT with many words: its shapes, and their places on four devices."""
    import jax
    from training.small_bert import SIZES

    from jaxbert.nn.config import EncoderConfig
    from jaxbert.nn.functional import init_params
    from jaxbert.optim.kinds import AdamW
    from jaxbert.optim.optimizer import make_optimizer
    from jaxbert.parallel.mesh import MeshConfig, make_mesh
    from jaxbert.tasks.pretraining import MaskedLanguageModelling
    from jaxbert.training.state import abstract_state

    encoder = EncoderConfig(**SIZES | {"num_hidden_layers": 1, "vocab_size": VOCABULARY})
    head = MaskedLanguageModelling().head
    params = jax.eval_shape(lambda: init_params(encoder, head, 0))
    optimizer = make_optimizer(AdamW(), lambda step: 0.1, params)
    return abstract_state(params, optimizer, make_mesh(MeshConfig(data=1, fsdp=4)))


def of_ones(target: Any) -> Any:
    """An array of which this process makes its part."""
    import jax

    sizes = target.sharding.shard_shape(target.shape)
    return jax.make_array_from_callback(
        target.shape, target.sharding, lambda _: np.ones(sizes, target.dtype)
    )


def training(mesh: Any) -> Any:
    """The same on every mesh."""
    from training.small_bert import SIZES, make_training

    from jaxbert.nn.config import EncoderConfig
    from jaxbert.nn.functional import init_params
    from jaxbert.optim.kinds import AdamW
    from jaxbert.optim.schedule import ScheduleConfig
    from jaxbert.tasks.pretraining import MaskedLanguageModelling
    from jaxbert.training.step import StepConfig

    encoder = EncoderConfig(**SIZES | {"num_hidden_layers": 1})
    task = MaskedLanguageModelling()
    return make_training(
        encoder,
        task,
        init_params(encoder, task.head, 0),
        NUM_STEPS,
        optimizer=AdamW(2e-3),
        schedule=ScheduleConfig("linear", warmup_steps=2),
        step=StepConfig(accumulation_steps=PARTS, dropout_rng="threefry2x32"),
        mesh=mesh,
    )


def restored(directory: Path) -> dict[str, Any]:
    """A checkpoint of one process, restored, saved and restored again in other parts."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from jaxbert.checkpoint.checkpoints import Checkpoints
    from jaxbert.checkpoint.preservation import CheckpointConfig

    mesh = Mesh(np.array(jax.devices()), ("devices",))
    checkpoints = Checkpoints(directory, CheckpointConfig())
    exact, grown = [], []
    for step, spec in ((1, ("devices", None)), (2, (None, "devices"))):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        target = {"kernel": jax.ShapeDtypeStruct(SHAPE, np.float32, sharding=sharding)}
        before = forget_peak()
        state = checkpoints.restore(step, target)
        grown.append(peak() - before)
        (shard,) = state["kernel"].addressable_shards
        exact.append(bool(np.array_equal(shard.data, large(shard.index))))
        if step == 1:
            checkpoints.save(2, state, {}, {})
            checkpoints.wait()
        del state, shard
    checkpoints.close()
    return {"exact": exact, "grown": grown}


def large(index: tuple[slice, ...]) -> np.ndarray:
    """A part of the array: the number of each element, which float32 holds exactly."""
    rows, columns = (range(size)[part] for size, part in zip(SHAPE, index, strict=True))
    first = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] * np.float32(SHAPE[1])
    return first + np.arange(columns.start, columns.stop, dtype=np.float32)


def forget_peak() -> int:
    """Bytes that the process occupies now; the peak is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Bytes that the process occupied at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
