"""The train step and the evaluation step: pure functions, jitted with explicit shardings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jaxbert.errors import UserError
from jaxbert.nn.placement import placed
from jaxbert.optim.optimizer import updates_done
from jaxbert.options import check_options
from jaxbert.parallel.rules import (
    batch_sharding,
    gathered_shardings,
    replicated,
    shardings,
    update_shardings,
)
from jaxbert.tasks.task import Task, WeightedSums, real_tokens, run_model
from jaxbert.training.gradients import GradientDtype, make_gradients, placement_on, total
from jaxbert.training.state import TrainState
from jaxbert.typing import Array, Batch, Params

Metrics = dict[str, Array]
TrainStep = Callable[..., tuple[TrainState, Metrics]]
"""(state, batch, *fixed): `fixed` are trees that the model takes after its parameters, and that
are not trained, such as those of a teacher."""


class Outputs(NamedTuple):
    """What evaluation brings to the host of a batch."""

    rows: dict[str, Array]
    """The task's `row_outputs`, with the `row_ids` that say which examples they are of."""
    tokens: dict[str, Array]
    """The task's `token_outputs`, with `example` int32 [batch, seq]: the row_ids of every token's
    example, -1 at padding."""


EvaluationStep = Callable[[Params, Batch], tuple[WeightedSums, Outputs]]
PredictionStep = Callable[[Params, Batch], Outputs]
Step = TypeVar("Step", EvaluationStep, PredictionStep)


@dataclass(frozen=True)
class StepConfig:
    """How one update is computed."""

    accumulation_steps: Annotated[int, Ge(1)] = 1
    """Microbatches per update; the update is that of the whole batch."""
    dropout_rng: Literal["auto", "threefry2x32", "rbg", "unsafe_rbg"] = "auto"
    """Generator of dropout bits; auto: rbg on TPU (cheaper), threefry2x32 elsewhere.

    threefry2x32 draws for every row what it would on one device, the others draw by device.
    """
    gradient_dtype: GradientDtype = "float32"
    """In which gradients are summed over devices; bfloat16 sends half as much, and rounds."""
    shard_optimizer: bool = False
    """Every device keeps and updates its part of the optimiser's state (ZeRO-1)."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """A loss or gradient that is not finite: stop the run, or leave that update out."""

    def __post_init__(self) -> None:
        check_options(self)


def make_train_step(
    apply: Callable[..., Any],
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    labels: Any,
    config: StepConfig,
    seed: int,
    mesh: Mesh | None = None,
    compute_dtype: DTypeLike = jnp.float32,
) -> TrainStep:
    """One update as a pure function (state, batch, *fixed) -> (state, metrics).

    Without `mesh` there is one device. `compute_dtype` is that of `apply`. `optimizer` is any of
    Optax that takes gradients alone; `schedule` is only what the metrics say of its rate.

    Batch leaves are [accumulation_steps, rows, ...]; UserError where not. `labels` says which are
    FROZEN: gradients of frozen parameters are never computed. Metrics: `loss`, every loss by name,
    `grad_norm` (global, before clipping), `learning_rate` (of the head). An update that is not
    finite leaves params and optimiser as they were, whatever the policy: a checkpoint never holds
    a NaN.
    """

    gradients = make_gradients(apply, task, labels, config.gradient_dtype, mesh, compute_dtype)
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    chosen = _branched if platform == "cpu" else _selected

    def train_step(state: TrainState, batch: Batch, *fixed: Params) -> tuple[TrainState, Metrics]:
        _check_microbatches(batch, config.accumulation_steps)
        base = jax.random.key(seed, impl=_dropout_impl(config.dropout_rng))
        key = jax.random.fold_in(base, state.step)
        if task.counts_steps:
            rows = next(iter(batch.values())).shape[:2]
            batch = {**batch, "step": jnp.broadcast_to(state.step.astype(jnp.int32), rows)}
        losses, grads = gradients(state.params, batch, key, *fixed)
        return _updated(state, grads, losses)

    def _updated(
        state: TrainState, grads: Params, losses: dict[str, Array]
    ) -> tuple[TrainState, Metrics]:
        old = state.params
        if config.shard_optimizer and mesh is not None:
            # What a device needs of the sum of the gradients is the part that it updates.
            split = update_shardings(old, mesh)
            old, grads = (jax.lax.with_sharding_constraint(x, split) for x in (old, grads))
        loss, norm = total(losses, task), optax.tree.norm(grads)

        def update(old: Params, opt_state: Any) -> tuple[Params, Any]:
            updates, opt_state = optimizer.update(grads, opt_state, old)
            return optax.apply_updates(old, updates), opt_state

        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        params, opt_state = chosen(finite, update, old, state.opt_state)
        # The optimiser's own count, where it has one, stands still when an update is left out.
        done = updates_done(state.opt_state)
        rate = jnp.asarray(schedule(state.step if done is None else done), jnp.float32)
        metrics = losses | {"loss": loss, "grad_norm": norm, "learning_rate": rate}
        return TrainState(state.step + 1, params, opt_state), metrics

    return train_step


def _check_microbatches(batch: Batch, accumulation_steps: int) -> None:
    for name, leaf in batch.items():
        if leaf.shape[:1] != (accumulation_steps,):
            raise UserError(
                f"batch[{name!r}] is {list(leaf.shape)}: expected [accumulation_steps="
                f"{accumulation_steps}, rows, ...], the rows of an update as so many microbatches"
            )


def _selected(wanted: Array, update: Callable[..., Any], *old: Any) -> Any:
    """`update(*old)` where that is wanted, else `old`: the choice is part of what writes them."""
    return jax.tree.map(lambda new, before: jnp.where(wanted, new, before), update(*old), old)


def _branched(wanted: Array, update: Callable[..., Any], *old: Any) -> Any:
    """The same by a branch: XLA's CPU backend would copy the moments in order to select."""
    return jax.lax.cond(wanted, update, lambda *old: old, *old)


def gathering(apply: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """`apply` that first gathers the parameters over `fsdp`, so that rows alone split activations.

    Left to itself, XLA splits activations as the parameters lie and exchanges them in every layer.
    Kernels, which XLA does not split, are told the mesh.
    """

    def gathered(params: Params, *args: Any, **kwargs: Any) -> Any:
        placement = placement_on(mesh)
        whole = jax.lax.with_sharding_constraint(params, gathered_shardings(params, placement.here))
        with placed(placement):
            return apply(whole, *args, **kwargs)

    return gathered


def make_evaluation_step(apply: Callable[..., Any], task: Task) -> EvaluationStep:
    """(params, batch) -> (sums and weights of losses and metrics, outputs)."""

    def evaluation_step(params: Params, batch: Batch) -> tuple[WeightedSums, Outputs]:
        output = run_model(apply, params, batch, inputs=task.model_inputs)
        weights = task.loss_weights(batch)
        losses = task.loss_sums(output, batch)
        sums = {name: (losses[name], weights[name]) for name in losses}
        return sums | task.metric_sums(output, batch), _outputs(task, output, batch)

    return evaluation_step


def make_prediction_step(apply: Callable[..., Any], task: Task) -> PredictionStep:
    """(params, batch) -> outputs; the batch needs no labels."""

    def prediction_step(params: Params, batch: Batch) -> Outputs:
        return _outputs(task, run_model(apply, params, batch, inputs=task.model_inputs), batch)

    return prediction_step


def _outputs(task: Task, output: Any, batch: Batch) -> Outputs:
    rows, tokens = task.row_outputs(output), task.token_outputs(output)
    if rows or tokens:
        rows = rows | {"row_ids": batch["row_ids"]}
    if tokens:
        tokens = tokens | {"example": _example_of_tokens(batch)}
    return Outputs(rows, tokens)


def _example_of_tokens(batch: Batch) -> Array:
    numbers = batch["row_ids"]
    if "sequence_ids" in batch:
        places = jnp.maximum(batch["sequence_ids"] - 1, 0)
        return jnp.where(real_tokens(batch), jnp.take_along_axis(numbers, places, axis=1), -1)
    # Of examples of several texts [batch, texts, seq].
    kept = batch["scored"] > 0 if "scored" in batch else real_tokens(batch)
    return jnp.where(kept, numbers.reshape(-1, *(1,) * (kept.ndim - 1)), -1)


def jit_train_step(
    step: TrainStep, state: TrainState, mesh: Mesh, fixed: tuple[Params, ...] = ()
) -> TrainStep:
    """Compiles with the state as it lies (it may be abstract) and donated, the batch by rows.

    `state` lies on `mesh`, as `new_state` and `abstract_state` place it; batches as `RowPlacement`
    puts them; trees that are `fixed` (they may be abstract) as `parallel.rules.shardings` says.
    """
    placement = jax.tree.map(lambda x: x.sharding, state)
    batches = batch_sharding(mesh, microbatches=True)
    return jax.jit(
        step,
        in_shardings=(placement, batches, *(shardings(tree, mesh) for tree in fixed)),
        out_shardings=(placement, replicated(mesh)),
        donate_argnums=0,
    )


def jit_evaluation_step(step: Step, params: Params, mesh: Mesh) -> Step:
    """Evaluation or prediction, with rows split over the mesh; results are on every device.

    `params` lie on `mesh`, as `jax.device_put(params, shardings(params, mesh))` places them.
    Raises UserError for those of NumPy, which lie on no device.
    """
    if any(not hasattr(leaf, "sharding") for leaf in jax.tree.leaves(params)):
        raise UserError(
            "params are NumPy's: put them on the mesh, with jax.device_put(params,"
            " jaxbert.parallel.rules.shardings(params, mesh))"
        )
    placement = jax.tree.map(lambda x: x.sharding, params)
    return jax.jit(
        step,
        in_shardings=(placement, batch_sharding(mesh, microbatches=False)),
        out_shardings=replicated(mesh),
    )


def _dropout_impl(name: str) -> str:
    if name != "auto":
        return name
    return "rbg" if jax.default_backend() == "tpu" else "threefry2x32"
