"""What a checkpoint holds, read beside the run that may be going on: nothing there is changed.

`Checkpoints` is for the one who trains: it sets damaged checkpoints aside and clears what is
unfinished, which of a run that is going on is the checkpoint that it is about to make.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxbert.checkpoint.checkpoints import RUN, STATE
from jaxbert.errors import UserError
from jaxbert.manifest import damage
from jaxbert.tree import flat, map_with_path
from jaxbert.typing import Params

_PARAMS, _OPTIMIZER, _AVERAGE = "params", "opt_state", "average"
_BROKEN = (FileNotFoundError, ValueError, AttributeError, KeyError)
"""What Orbax raises of files that are gone, cut off, or do not have the bytes that were written."""


def read_run(checkpoint: Path) -> dict[str, Any]:
    """What `Checkpoints.save` was told of the run; raises UserError where it is not whole."""
    _check_whole(checkpoint)
    # Handlers, since a checkpointer warns of what the manager keeps for all items together.
    with closing(ocp.JsonCheckpointHandler()) as handler:
        try:
            run: dict[str, Any] = handler.restore((checkpoint / RUN).resolve())
        except _BROKEN as error:
            raise _damaged(checkpoint, str(error)) from None
    return run


def read_params(checkpoint: Path, *, averaged: bool = False) -> Params:
    """The parameters of a saved state as whole NumPy arrays, float32, however they were split.

    `averaged`: the average that `optim/averaging.py` keeps of them. Nothing else of the state is
    read. Raises UserError where the checkpoint is not whole, or is deleted meanwhile, as a run does
    with its older ones.
    """
    _check_whole(checkpoint)
    folder = (checkpoint / STATE).resolve()
    with closing(ocp.PyTreeCheckpointHandler()) as handler:
        try:
            saved = handler.metadata(folder).tree
            wanted: dict[str, Any] = {_PARAMS: saved[_PARAMS]}
            if averaged:
                wanted[_OPTIMIZER] = {_AVERAGE: saved[_OPTIMIZER][_AVERAGE]}
            restore = ocp.args.PyTreeRestore(
                jax.tree.map(lambda _: 0, wanted),
                restore_args=jax.tree.map(
                    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
                ),
                partial_restore=True,
            )
            found = handler.restore(folder, args=restore)
        except _BROKEN as error:
            _check_whole(checkpoint)
            raise _damaged(checkpoint, str(error)) from None
    # Of a deleted file TensorStore may take the values for zeros.
    _check_whole(checkpoint)
    average = flat(found[_OPTIMIZER][_AVERAGE]) if averaged else {}
    # What was frozen has no average beside it.
    params: Params = map_with_path(lambda path, x: average.get(path, x), found[_PARAMS])
    return params


def _check_whole(checkpoint: Path) -> None:
    if not checkpoint.is_dir():
        raise UserError(f"{checkpoint} is no longer there: the run has replaced it by a newer one")
    if (found := damage(checkpoint)) is not None:
        raise _damaged(checkpoint, found)


def _damaged(checkpoint: Path, reason: str) -> UserError:
    return UserError(
        f"{checkpoint} is damaged ({' '.join(reason.split())}): take another checkpoint"
    )
