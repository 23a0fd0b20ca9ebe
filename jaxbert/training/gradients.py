"""Losses and gradients of a batch: of every device's rows apart, then summed over devices once."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike

from jaxbert.errors import UserError
from jaxbert.nn.draws import key_of_device
from jaxbert.nn.placement import Placement, placed
from jaxbert.optim.groups import FROZEN
from jaxbert.parallel.rules import MESH_AXES, ROWS, is_read_rounded, specs_along
from jaxbert.tasks.task import Task, run_model
from jaxbert.tree import map_with_path
from jaxbert.typing import Array, Batch, Params

Losses = dict[str, Array]
GradientDtype = Literal["float32", "bfloat16"]
Gradients = Callable[..., tuple[Losses, Params]]
"""(params, batch of [microbatches, rows, ...], key, *fixed) -> losses of the batch and their
gradients by `params`; `apply` takes the trees `fixed` after them, such as those of a teacher."""


def make_gradients(
    apply: Callable[..., Any],
    task: Task,
    labels: Any,
    dtype: GradientDtype,
    mesh: Mesh | None,
    compute_dtype: DTypeLike = jnp.float32,
) -> Gradients:
    """Gradients of the sum of the losses by the parameters that are not labelled as frozen.

    Every device, or group of them along `tensor`, works on its rows alone. Sums over microbatches
    are exchanged in `dtype` once at the end; those of parameters that are split over `fsdp` in
    every microbatch, along that axis, where the parameters are put together in the `compute_dtype`
    of `apply` if nothing else of them is read. XLA, left to split rows itself, exchanges
    what each use of a tied table gives in a way of its own, may exchange in every microbatch, and
    draws the dropout of all rows on every device.
    """
    sent = _Sent(jnp.dtype(compute_dtype), jnp.dtype(dtype))
    axes = () if mesh is None else tuple(axis for axis in ROWS if mesh.shape[axis] > 1)

    def of_own_rows(
        specs: Any, within: Any, params: Params, batch: Batch, key: Array, *fixed: Params
    ) -> tuple[Losses, Params]:
        weights = jax.lax.psum(_weights(task, batch), axes)
        used = (labels, *(jax.tree.map(lambda _: FROZEN, tree) for tree in fixed))
        whole = partial(map_with_path, partial(_used, sent))

        def output(params: Params, batch: Batch, key: Array) -> Any:
            trees = zip((params, *fixed), used, specs, within, strict=True)
            read, *others = (whole(*tree) for tree in trees)
            return run_model(apply, read, batch, key, inputs=task.model_inputs, fixed=tuple(others))

        added = _compared if task.compares_rows else _accumulated
        losses, gradients = added(output, task, weights, params, batch, key_of_device(key))
        sums = partial(_summed, axes, sent.gradients)
        return jax.lax.psum(losses, axes), jax.tree.map(sums, labels, specs[0], gradients)

    def gradients(
        params: Params, batch: Batch, key: Array, *fixed: Params
    ) -> tuple[Losses, Params]:
        trees = (params, *fixed)
        if mesh is None or not axes:
            whole = tuple(jax.tree.map(lambda _: PartitionSpec(), tree) for tree in trees)
            return of_own_rows(whole, whole, params, batch, key, *fixed)
        specs, within = (
            tuple(specs_along(some, tree, mesh) for tree in trees) for some in (ROWS, ("tensor",))
        )
        split = jax.shard_map(
            partial(of_own_rows, specs, within),
            mesh=mesh,
            in_specs=(specs[0], PartitionSpec(None, axes), PartitionSpec(), *specs[1:]),
            out_specs=(PartitionSpec(), specs[0]),
            axis_names=set(axes),
            check_vma=False,
        )
        with placed(placement_on(mesh)):
            return split(params, batch, key, *fixed)

    return gradients


def placement_on(mesh: Mesh) -> Placement:
    """What kernels and random draws need to know of a mesh."""
    heads = MESH_AXES["heads"]
    assert heads is not None
    return Placement(mesh, ROWS, heads)


def total(losses: Losses, task: Task) -> Array:
    """What is minimised."""
    return sum((task.loss_factor(name) * x for name, x in losses.items()), jnp.zeros(()))


def _weights(task: Task, batch: Batch) -> Losses:
    """Of all microbatches, so that those of unequal weight add up to the loss of the batch."""
    return jax.tree.map(jnp.sum, jax.vmap(task.loss_weights)(batch))


def _losses(task: Task, weights: Losses, output: Any, batch: Batch) -> tuple[Array, Losses]:
    """What is minimised, and every loss: sums of these rows over the weights of all."""
    sums = task.loss_sums(output, batch)
    if without := [name for name in sums if name not in weights]:
        raise UserError(
            f"{type(task).__name__}: loss_sums has {without}, loss_weights only {[*weights]}: "
            "every loss is divided by the weight of its name"
        )
    losses = {name: _ratio(sums[name], weights[name]) for name in sums}
    return total(losses, task), losses


def _accumulated(
    output: Callable[[Params, Batch, Array], Any],
    task: Task,
    weights: Losses,
    params: Params,
    batch: Batch,
    key: Array,
) -> tuple[Losses, Params]:
    """Losses and gradients, added over microbatches; each has a dropout key of its own."""
    count = jax.tree.leaves(batch)[0].shape[0]
    keys = jax.random.split(key, count)

    def loss(params: Params, micro: Batch, key: Array) -> tuple[Array, Losses]:
        return _losses(task, weights, output(params, micro, key), micro)

    gradient = jax.grad(loss, has_aux=True)

    def of_microbatch(micro: Batch, key: Array) -> tuple[Losses, Params]:
        gradients, losses = gradient(params, micro, key)
        return losses, gradients

    def add(sums: Any, inputs: tuple[Batch, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, of_microbatch(*inputs)), None

    if count == 1:
        return of_microbatch(jax.tree.map(lambda x: x[0], batch), keys[0])
    shapes = jax.eval_shape(of_microbatch, jax.tree.map(lambda x: x[0], batch), keys[0])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, _ = jax.lax.scan(add, zeros, (batch, keys))
    return sums


def _compared(
    output: Callable[[Params, Batch, Array], Any],
    task: Task,
    weights: Losses,
    params: Params,
    batch: Batch,
    key: Array,
) -> tuple[Losses, Params]:
    """The same of a loss between rows, which sees those of all microbatches (Gao et al. 2021).

    What it compares is kept of each microbatch, and the model computes it again for the gradient.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    if count == 1:
        return _accumulated(output, task, weights, params, batch, key)

    def together(parts: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(count * x.shape[1], *x.shape[2:]), parts)

    def loss(params: Params) -> tuple[Array, Losses]:
        def compared(inputs: tuple[Batch, Array]) -> Any:
            return task.compared(output(params, *inputs))

        parts = jax.lax.map(
            jax.checkpoint(compared, prevent_cse=False), (batch, jax.random.split(key, count))
        )
        return _losses(task, weights, together(parts), together(batch))

    gradients, losses = jax.grad(loss, has_aux=True)(params)
    return losses, gradients


class _Sent(NamedTuple):
    """The types in which devices send each other their parts along `fsdp`."""

    products: jnp.dtype
    """Of parameters that are read in it alone."""
    gradients: jnp.dtype


def _used(
    sent: _Sent, path: str, x: Array, label: str, spec: PartitionSpec, within: PartitionSpec
) -> Array:
    """Whole along `fsdp`: the gradient of a gathered array is summed and split again."""
    x = jax.lax.stop_gradient(x) if label == FROZEN else x
    for dimension, axis in enumerate(spec):
        if axis is not None:
            read = sent.products if is_read_rounded(path) else x.dtype
            x = _gathered(axis, dimension, read, sent.gradients, within, x)
    return x


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3, 4))
def _gathered(
    axis: str, dimension: int, read: jnp.dtype, sums: jnp.dtype, within: PartitionSpec, x: Array
) -> Array:
    # Rounded before it is sent and not after: the same values, in half of the bytes. Given as wide
    # as it was, which compilers see through, so that gradients of several uses (ALBERT's layers)
    # are added in float32 as they are where parameters are whole.
    gather = partial(jax.lax.all_gather, axis_name=axis, axis=dimension, tiled=True)
    return _of_parts(gather, within, x.astype(read)).astype(x.dtype)


def _gathered_forward(*given: Any) -> tuple[Array, None]:
    return _gathered(*given), None


def _gathered_backward(
    axis: str,
    dimension: int,
    read: jnp.dtype,
    sums: jnp.dtype,
    within: PartitionSpec,
    _: None,
    slope: Array,
) -> tuple[Array]:
    scatter = partial(jax.lax.psum_scatter, axis_name=axis, scatter_dimension=dimension, tiled=True)
    # The parameter's dtype, whose gradient it is.
    return (_of_parts(scatter, within, slope.astype(sums)).astype(slope.dtype),)


_gathered.defvjp(_gathered_forward, _gathered_backward)


def _of_parts(exchange: Callable[[Array], Array], within: PartitionSpec, x: Array) -> Array:
    """What `exchange` makes of each part along `tensor`.

    XLA's partitioner, which splits the rest over `tensor`, puts together what such an exchange is
    given, and gives every device all of it.
    """
    if not any(within):
        return exchange(x)
    return jax.shard_map(
        exchange, in_specs=within, out_specs=within, axis_names={"tensor"}, check_vma=False
    )(x)


def _summed(
    axes: tuple[str, ...], dtype: jnp.dtype, label: str, spec: PartitionSpec, gradient: Array
) -> Array:
    left = tuple(axis for axis in axes if axis not in spec)
    if label == FROZEN or not left:
        return gradient
    return jax.lax.psum(gradient.astype(dtype), left).astype(gradient.dtype)


def _ratio(sum_: Array, weight: Array) -> Array:
    # Weights of classes may add up to less than 1, so nothing but 0 may be replaced.
    return jnp.where(weight > 0, sum_ / jnp.where(weight > 0, weight, 1.0), 0.0)
