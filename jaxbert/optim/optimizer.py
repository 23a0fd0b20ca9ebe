"""From configuration to one Optax transformation over the whole tree."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxbert.errors import UserError
from jaxbert.optim.directions import Decay, direction, scaled
from jaxbert.optim.groups import (
    FROZEN,
    check_groups,
    check_has_encoder,
    decay_of,
    depth,
    group_labels,
    rate_factor,
)
from jaxbert.optim.kinds import OptimizerConfig
from jaxbert.optim.towards_start import Pull, towards_start
from jaxbert.tree import flat, map_with_path


def make_optimizer(
    config: OptimizerConfig,
    schedule: optax.Schedule,
    params: Any,
    labels: Any = None,
    pull: Pull | None = None,
) -> optax.GradientTransformation:
    """Clipping over all trained parameters, then the optimiser's steps by rate and schedule.

    `labels`: FROZEN, or the name of those that are trained from the same step on, which share a
    count of updates (bias correction begins anew for what is unfrozen late; the schedule does
    not). Without them `config` says what is frozen. Frozen parameters hold no state, are not
    updated and do not enter the norm. What `pull` draws to where it began is not decayed: times the
    rate, it takes the place of the decay. `params` may be abstract. Depth is read from the paths
    `encoder/layers/{i}` and `encoder/embeddings`, whatever stands in front of them: `layer_decay`
    and `freeze_layers` know all other parameters as those of the head, and are a UserError where
    all are.
    """
    if not isinstance(config, OptimizerConfig):
        raise UserError(
            f"config is {config!r}: expected an optimiser of jaxbert.optim.kinds, such as "
            "AdamW(learning_rate=1e-4)"
        )
    if labels is None:
        if config.layer_decay != 1.0:
            check_has_encoder(f"optimizer.layer_decay={config.layer_decay}", params)
        if config.freeze_layers is not None:
            check_has_encoder(f"optimizer.freeze_layers={config.freeze_layers}", params)
        labels = group_labels(params, config.freeze, config.freeze_layers)
    check_groups(config.groups, params)
    label_of = flat(labels)
    decay = decay_of(config.weight_decay, config.groups)
    if pull is not None:
        decay = _undecayed(pull, decay)
    factor = rate_factor(config.learning_rate, config.layer_decay, config.groups, depth(params))
    # In a fixed order: that of a set would differ from process to process.
    names = sorted({*label_of.values()} - {FROZEN})
    if not names:
        raise UserError("optimizer: all parameters are frozen: leave some, such as the head")
    parts = [
        optax.partition(
            {name: direction(config, decay) for name in names},
            lambda tree: map_with_path(lambda path, _: label_of[path], tree),
        ),
        scaled(factor),
        optax.scale_by_learning_rate(schedule),
    ]
    if pull is not None:
        parts.insert(1, towards_start(pull))
    if config.max_grad_norm is not None:
        parts.insert(0, _clipped(config.max_grad_norm))

    # By path: `nnx.Optimizer` begins with variables and updates with their arrays.
    def is_frozen(tree: Any) -> Any:
        return map_with_path(lambda path, _: label_of[path] == FROZEN, tree)

    def is_trained(tree: Any) -> Any:
        return map_with_path(lambda path, _: label_of[path] != FROZEN, tree)

    return optax.chain(
        optax.masked(optax.chain(*parts), is_trained), optax.masked(optax.set_to_zero(), is_frozen)
    )


def _undecayed(pull: Pull, decay: Decay) -> Decay:
    return lambda path: 0.0 if pull(path) else decay(path)


def _clipped(max_norm: float) -> optax.GradientTransformation:
    """Scales all updates down to a global norm by one factor.

    `optax.clip_by_global_norm` divides every entry, which XLA's CPU backend does in a pass of its
    own, through memory.
    """

    def clip(updates: Any, params: Any) -> Any:
        factor = jnp.minimum(1.0, max_norm / optax.tree.norm(updates))
        return jax.tree.map(lambda x: x * factor, updates)

    return optax.stateless(clip)


def updates_done(opt_state: Any) -> jax.Array | None:
    """The count that the learning rate follows; None: an optimiser of one's own has no schedule."""

    def follows_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    nodes = jax.tree.leaves(opt_state, is_leaf=follows_schedule)
    counts: list[jax.Array] = [node.count for node in nodes if follows_schedule(node)]
    return counts[-1] if counts else None
