"""Checkpoints of a run: the state with what is needed to continue it, through Orbax."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxbert.checkpoint.damaged import set_damaged_aside
from jaxbert.checkpoint.preservation import CheckpointConfig, Preservation
from jaxbert.errors import UserError
from jaxbert.manifest import write_manifest
from jaxbert.metrics.ranking import ranked
from jaxbert.parallel.processes import in_first

STATE, RUN = "state", "run"

_CHUNK_BYTES = 8 * 2**20
"""Of an array at most this much is read at once, so that a process reads little but its part."""
_SHARED_BYTES = 2**20
"""Devices that hold the same array copy a part each where it has at least so many bytes.

Of the hundreds of small ones, cutting takes much longer than copying, and the devices wait for it.
"""


class Checkpoints:
    """Saved asynchronously; a checkpoint counts only once it is whole (Orbax renames it last).

    Every process writes and reads what its devices hold, and the first one the rest. `damaged` are
    those that a crash left incomplete all the same, now under another name.
    """

    def __init__(self, directory: Path, config: CheckpointConfig):
        self.config = config
        self._directory = directory.absolute()
        damaged = in_first(lambda: [str(path) for path in set_damaged_aside(self._directory)])
        self.damaged = [Path(path) for path in damaged]
        self._preservation = Preservation(config, {})
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._preservation,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._list_files),
        )
        self._saving = 0
        handlers = {
            STATE: ocp.PyTreeCheckpointHandler(type_handler_registry=_array_handlers()),
            RUN: ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            self._directory, options=options, item_handlers=handlers
        )

    def latest_step(self) -> int | None:
        """The newest whole checkpoint, None if there is none."""
        return self._manager.latest_step()

    def best_step(self, scores: Mapping[int, float]) -> int | None:
        """Of the checkpoints that are kept the one with the best score; without any the newest."""
        kept = {step: scores[step] for step in self._manager.all_steps() if step in scores}
        return ranked(kept, self.config.better)[0] if kept else self.latest_step()

    def save(
        self, step: int, state: Any, run: Mapping[str, Any], scores: Mapping[int, float]
    ) -> None:
        """Starts saving; returns once the state is copied off the devices.

        `run` is JSON: the resolved configuration and which data they are; the position in the
        data is the step. `scores` has the metric of every evaluated step so far.
        """
        if step == self.latest_step():
            return
        self.wait()
        self._saving, self._preservation.scores = step, dict(scores)
        chunks = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES), state)
        saved = ocp.args.PyTreeSave(state, save_args=chunks)
        items = ocp.args.Composite(**{STATE: saved, RUN: ocp.args.JsonSave(dict(run))})
        self._manager.save(step, args=items)

    def run(self, step: int) -> dict[str, Any]:
        """What `save` was told of the run; reads no array."""
        items = ocp.args.Composite(**{RUN: ocp.args.JsonRestore()})
        return self._manager.restore(step, args=items)[RUN]

    def shapes(self, step: int) -> dict[str, Any]:
        """The saved state as nested dicts with a `shape` at every leaf; reads no array."""
        folder = self._directory / str(step) / STATE
        return dict(ocp.StandardCheckpointHandler().metadata(folder))

    def restore(self, step: int, target: Any) -> Any:
        """The state of a checkpoint, placed as the abstract `target` says."""
        placed = ocp.checkpoint_utils.construct_restore_args(target)
        items = ocp.args.Composite(**{STATE: ocp.args.PyTreeRestore(target, restore_args=placed)})
        return self._manager.restore(step, args=items)[STATE]

    def wait(self) -> None:
        """Waits until every save is on disk; raises UserError where there is no room for one."""
        try:
            self._manager.wait_until_finished()
        except ValueError as error:
            # TensorStore's word for a full disk, or one on which no more may be written.
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"{self._directory}: the checkpoint of step {self._saving} found no room there: "
                "make room, and the same command continues from the one before "
                "(checkpoint.keep_last says how many stay)"
            ) from None

    def close(self) -> None:
        """Waits and ends the threads."""
        self.wait()
        self._manager.close()

    def _list_files(self) -> None:
        # Called by Orbax, in the first process, when all is written and before the folder gets its
        # final name.
        unfinished = next(self._directory.glob(f"{self._saving}.orbax*"), None)
        write_manifest(unfinished or self._directory / str(self._saving), (STATE, RUN))


def _array_handlers() -> ocp.type_handlers.TypeHandlerRegistry:
    types = ocp.type_handlers
    on_devices = types.ArrayHandler(min_slice_bytes_for_replica_parallel=_SHARED_BYTES)
    on_host, scalars = types.NumpyHandler(), types.ScalarHandler()
    return types.create_type_handler_registry(
        (jax.Array, on_devices), (np.ndarray, on_host), (np.number, scalars)
    )
