"""The jaxbert-native model directory: config.json, the tokenizer, and an Orbax tree in `params/`.

The tree is the params tree itself, so `orbax.checkpoint` alone can restore it, onto any sharding.
A tree that Orbax alone wrote has no manifest.json beside it, and is read as it stands.
"""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxbert.errors import UserError
from jaxbert.hub.config_file import Description
from jaxbert.hub.contents import Contents, Stored
from jaxbert.manifest import MANIFEST, damage, write_manifest
from jaxbert.nn.functional import parameter_shapes
from jaxbert.tree import flat
from jaxbert.typing import Params

FOLDER = "params"


def is_native(directory: Path) -> bool:
    """Whether a model directory holds its parameters as an Orbax tree."""
    return (directory / FOLDER).is_dir()


def stored_params(
    directory: Path, described: Description, without: Collection[str] = ()
) -> Contents:
    """What the Orbax tree holds of each parameter, the modules `without` left out."""
    damaged = damage(directory) if (directory / MANIFEST).exists() else None
    if damaged is not None:
        raise UserError(f"{damaged}, so {directory} is not whole: copy it again")
    leaves = _restore(directory / FOLDER)
    stored = {}
    for path, shape in parameter_shapes(described.config, described.head).items():
        leaf = None if path.partition("/")[0] in without else leaves.get(path)
        # Popped, so that what has found its place is not held twice.
        read = partial(leaves.pop, path)
        stored[path] = Stored(path, shape, None if leaf is None else leaf.shape, read)
    others = leaves.keys() - {path for path, entry in stored.items() if entry.found is not None}
    unused = tuple(sorted(path for path in others if not path.startswith("encoder/")))
    unexpected = {path: leaves[path].shape for path in others if path not in unused}
    return Contents(stored, unexpected, unused)


def write_params(params: Params, directory: Path, dtype: Any) -> None:
    """Writes the Orbax tree of a model directory in `dtype`, complete when this returns."""
    leaves = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype), params)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((directory / FOLDER).resolve(), leaves)
    write_manifest(directory, (FOLDER,))


def _restore(folder: Path) -> dict[str, np.ndarray]:
    with ocp.PyTreeCheckpointer() as checkpointer:
        try:
            tree = checkpointer.metadata(folder.resolve()).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            return flat(checkpointer.restore(folder.resolve(), restore_args=as_numpy))
        except (FileNotFoundError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder} is not a whole Orbax tree: {reason}") from None
