"""The sharding table: path patterns to logical axes, logical axes to mesh axes."""

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxbert.errors import UserError
from jaxbert.tree import map_with_path
from jaxbert.typing import ArrayOrNumpy

LogicalAxes = tuple[str | None, ...]
Rules = tuple[tuple[str, LogicalAxes], ...]

PARAMETER_AXES: Rules = (
    (r"embeddings/word/embedding", ("vocab", "hidden")),
    (r"embeddings/(position|token_type|task_type)/embedding", (None, "hidden")),
    (r"embeddings/projection/kernel", (None, "hidden")),
    (r"encoder/relative/embedding", (None, "hidden")),
    (r"encoder/relative_bias/embedding", (None, "heads")),
    (r"encoder/convolution/kernel", (None, "hidden", None)),
    (r"attention/(query|key|value|position_key|position_query)/kernel", ("hidden", "heads")),
    (r"attention/(query|key|value|position_key|position_query)/bias", ("heads",)),
    (r"attention/output/kernel", ("heads", "hidden")),
    (r"mlp/(up|gate)/kernel", ("hidden", "mlp")),
    (r"mlp/(up|gate)/bias", ("mlp",)),
    (r"mlp/down/kernel", ("mlp", "hidden")),
    (r"attention/(query|key|value|position_key|position_query)/lora_b", (None, "heads")),
    (r"attention/output/lora_a", ("heads", None)),
    (r"mlp/(up|gate)/lora_b", (None, "mlp")),
    (r"mlp/down/lora_a", ("mlp", None)),
    (r"(query|key|value|position_key|position_query|up|gate)/lora_a", (None, None)),
    (r"(attention/output|mlp/down)/lora_b", (None, None)),
    (r"(attention/output|mlp/down|embeddings/projection|encoder/convolution)/bias", (None,)),
    (r"(norm|attention_norm|mlp_norm|final_norm)/(scale|bias)", (None,)),
    (r"(pooler|projection|vector_projection|masked_lm)/dense/kernel", ("hidden", None)),
    (r"next_sentence/dense/kernel", ("hidden", None)),
    (r"classifier/dense/kernel", ("hidden", "classes")),
    (r"classifier/dense/bias", ("classes",)),
    (r"(pooler|projection|vector_projection|masked_lm|next_sentence)/dense/bias", (None,)),
    (r"masked_lm/decoder", ("vocab", "hidden")),
    (r"masked_lm/bias", ("vocab",)),
    (r"attention_pooling/score/kernel", ("hidden", None)),
    (r"mixture/(weights|scale)", (None,)),
)
"""Every parameter of every model matches exactly one row; optimiser moments by the same path.

Low-rank factors are whole along `fsdp`: they are small, and summed in one exchange with biases.
A parameter of one's own that no row fits is whole on every device.
"""

MESH_AXES = {
    "vocab": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
    "classes": "tensor",
    "hidden": "fsdp",
    None: None,
}

MANY_CLASSES = 1024
"""From here on a classifier is worth splitting, where the axis divides their number."""

ROWS = ("replica", "data", "fsdp")
"""Mesh axes that split the rows of a batch."""


_READ_ROUNDED = r"(?:^|/)(kernel|masked_lm/decoder)$"
"""What the modules read in their compute dtype and in no other: a test looks at their programs."""

_UNLIKE_PARAMETERS = r"(?:^|/)(v_row|v_col|ns_coeffs)(?:/|$)"
"""What optimisers hold in other shapes than a parameter's: Adafactor's factors, Muon's numbers."""


def matching_rules(path: str, rules: Rules = PARAMETER_AXES) -> list[LogicalAxes]:
    """The logical axes of every rule that fits a path; exactly one for a parameter."""
    found = []
    for pattern, axes in rules:
        if re.search(rf"(?:^|/){pattern}$", path):
            found.append(axes)
    return found


def is_read_rounded(path: str) -> bool:
    """Nothing of this parameter but what it is in the compute dtype has an effect."""
    return re.search(_READ_ROUNDED, path) is not None


def shardings(tree: Any, mesh: Mesh | AbstractMesh, rules: Rules = PARAMETER_AXES) -> Any:
    """Sharding of every leaf of a params or optimiser-state tree.

    Single numbers replicate, and what no rule fits: a head under a name of one's own. `rules`: the
    table, with rows of one's own for what shall be split. Raises UserError for a leaf that several
    rules fit, or one of another number of axes, where a dimension does not divide by its mesh axis,
    and for a mesh without `fsdp` or `tensor`.
    """
    return map_with_path(lambda path, leaf: _sharding(path, leaf.shape, mesh, rules), tree)


def gathered_shardings(params: Any, mesh: Mesh | AbstractMesh) -> Any:
    """As `shardings`, but whole along `fsdp`: what a device computes with."""

    def whole(sharding: NamedSharding) -> NamedSharding:
        spec = PartitionSpec(*(None if axis == "fsdp" else axis for axis in sharding.spec))
        return NamedSharding(mesh, spec)

    return jax.tree.map(whole, shardings(params, mesh))


def specs_along(axes: tuple[str, ...], params: Any, mesh: Mesh) -> Any:
    """Of every parameter the dimensions that are split over some axes of the mesh."""

    def spec(sharding: NamedSharding) -> PartitionSpec:
        split = (axis if axis in axes and mesh.shape[axis] > 1 else None for axis in sharding.spec)
        return PartitionSpec(*split)

    return jax.tree.map(spec, shardings(params, mesh))


def update_shardings(tree: Any, mesh: Mesh) -> Any:
    """As `shardings`, and split over `data` besides, along the largest dimension that allows it.

    ZeRO-1 (Rajbhandari et al. 2020, section 5.1): every device holds and updates its part of the
    moments. Small leaves that do not divide stay whole.
    """

    def split(leaf: Any, sharding: NamedSharding) -> NamedSharding:
        spec = [*sharding.spec, *(None,) * (leaf.ndim - len(sharding.spec))]
        held = [
            n // (mesh.shape[axis] if axis else 1) for n, axis in zip(leaf.shape, spec, strict=True)
        ]
        free = [i for i, size in enumerate(held) if size % mesh.shape["data"] == 0]
        if not free:
            return sharding
        widest = max(free, key=lambda i: held[i])
        spec[widest] = (spec[widest], "data") if spec[widest] else "data"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(split, tree, shardings(tree, mesh))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, *, microbatches: bool) -> NamedSharding:
    """Rows split over the mesh; with `microbatches` a leading unsplit accumulation axis."""
    return NamedSharding(mesh, PartitionSpec(None, ROWS) if microbatches else PartitionSpec(ROWS))


def row_shards(mesh: Mesh | AbstractMesh) -> int:
    """Into how many parts the rows of a batch are split."""
    count = 1
    for axis in ROWS:
        count *= mesh.shape[axis]
    return count


def put_whole(x: ArrayOrNumpy, sharding: NamedSharding) -> jax.Array:
    """What every process has whole as one global array, of which each places its part."""
    if isinstance(x, jax.Array) and x.sharding == sharding:
        return x
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def place_on(mesh: Mesh) -> Callable[[str, np.ndarray], jax.Array]:
    """(path of a parameter, its values, which every process has) -> the array on its devices."""
    return lambda path, values: put_whole(values, _sharding(path, values.shape, mesh))


def _sharding(
    path: str,
    shape: tuple[int, ...],
    mesh: Mesh | AbstractMesh,
    rules: Rules = PARAMETER_AXES,
) -> NamedSharding:
    missing = sorted({axis for axis in MESH_AXES.values() if axis} - {*mesh.axis_names})
    if missing:
        raise UserError(
            f"the mesh has the axes {list(mesh.axis_names)} and not {missing}, over which "
            "parameters are split: jaxbert.parallel.mesh.make_mesh makes one that has them, of "
            "size 1 where nothing is to be split"
        )
    fitting = matching_rules(path, rules)
    if not fitting or math.prod(shape) == 1 or re.search(_UNLIKE_PARAMETERS, path):
        return replicated(mesh)
    if [len(row) for row in fitting] != [len(shape)]:
        raise UserError(
            f"{path} {list(shape)}: the sharding rules of this name have the axes {fitting}, "
            f"expected one rule of {len(shape)} axes: call it by a name that the table "
            "(jaxbert.parallel.rules) does not have, to be whole on every device"
        )
    axes = tuple(
        None if axis == "classes" and not _splits_classes(size, mesh) else MESH_AXES[axis]
        for size, axis in zip(shape, fitting[0], strict=True)
    )
    if _is_thin(shape):
        axes = tuple(None if axis == "fsdp" else axis for axis in axes)
    elif axes in (("tensor", "fsdp"), (None, "fsdp")) and _splits_into_whole_rows(shape[0], mesh):
        axes = ("fsdp", None)
    for size, axis in zip(shape, axes, strict=True):
        if axis is not None and size % mesh.shape[axis]:
            raise UserError(
                f"mesh: {axis}={mesh.shape[axis]} does not divide dimension {size} of {path}: "
                f"set mesh.{axis} to a number that does"
            )
    return NamedSharding(mesh, PartitionSpec(*axes))


def _is_thin(shape: tuple[int, ...]) -> bool:
    # Token types and heads of few classes: with biases and norms, which are whole, their gradients
    # are summed in one exchange.
    return math.prod(shape) < 4 * max(shape)


def _splits_into_whole_rows(number: int, mesh: Mesh | AbstractMesh) -> bool:
    # XLA:TPU scatters the sum of whole rows, where it reduces a table that is cut along its rows.
    return mesh.shape["tensor"] == 1 and number % mesh.shape["fsdp"] == 0


def _splits_classes(number: int, mesh: Mesh | AbstractMesh) -> bool:
    # Labels are the user's, who can hardly have more or fewer of them because of a mesh.
    return number >= MANY_CLASSES and number % mesh.shape["tensor"] == 0
