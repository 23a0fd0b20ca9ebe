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
from jaxbert.families.family import as_filed
from jaxbert.hub.config_file import PARAMS, Description
from jaxbert.hub.contents import Contents, Stored
from jaxbert.manifest import MANIFEST, damage, write_manifest
from jaxbert.nn.functional import parameter_shapes
from jaxbert.nn.head import Head
from jaxbert.tree import flat
from jaxbert.typing import Params


def is_native(directory: Path) -> bool:
    """Whether a model directory holds its parameters as an Orbax tree."""
    return (directory / PARAMS).is_dir()


def stored_params(
    directory: Path, described: Description, without: Collection[str] = ()
) -> Contents:
    """What the Orbax tree holds of each parameter, the modules `without` left out."""
    damaged = damage(directory) if (directory / MANIFEST).exists() else None
    if damaged is not None:
        raise UserError(f"{damaged}, so {directory} is not whole: copy it again")
    leaves = _restore(directory / PARAMS)
    names, held = {}, {}
    # Where nobody says which head is in there, places are all that is known.
    if described.saved is not None:
        names, held = _names(described, described.head), _names(described, described.saved)
    places = {held.get(path, path): path for path in leaves}
    stored, used = {}, set[str]()
    for path, shape in parameter_shapes(described.config, described.head).items():
        place = places.get(names.get(path, path))
        if place is None or path.partition("/")[0] in without:
            stored[path] = Stored(path, shape, None, partial(leaves.pop, path))
        else:
            # Popped, so that what has found its place is not held twice.
            stored[path] = Stored(path, shape, leaves[place].shape, partial(leaves.pop, place))
            used.add(place)
    others = leaves.keys() - used
    unused = tuple(sorted(path for path in others if not path.startswith("encoder/")))
    unexpected = {path: leaves[path].shape for path in others if path not in unused}
    return Contents(stored, unexpected, unused)


def _names(described: Description, head: Head) -> dict[str, str]:
    """What the family's files call the parameters of a head, by path.

    Two heads may have other layers in one place, or one layer in two; files tell by the name.
    """
    family = described.family
    return {
        weight.path: f"{family.canonical_key(weight.key)} {weight.part}"
        for weight in family.weights(described.config, as_filed(head))
        if not weight.path.startswith("encoder/")
    }


def write_params(params: Params, directory: Path, dtype: Any) -> None:
    """Writes the Orbax tree of a model directory in `dtype`, complete when this returns."""
    leaves = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype), params)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((directory / PARAMS).resolve(), leaves)
    write_manifest(directory, (PARAMS,))


def _restore(folder: Path) -> dict[str, np.ndarray]:
    with ocp.PyTreeCheckpointer() as checkpointer:
        try:
            tree = checkpointer.metadata(folder.resolve()).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            return flat(checkpointer.restore(folder.resolve(), restore_args=as_numpy))
        except (FileNotFoundError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder} is not a whole Orbax tree: {reason}") from None
