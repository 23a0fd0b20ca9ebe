"""AdamW with one group per depth."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import optax
from annotated_types import Ge, Gt, Lt

from jaxbert.optim.groups import FROZEN, depth, group_labels, is_decayed, learning_rate_factors
from jaxbert.tree import map_with_path


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019); defaults are those of BERT pretraining."""

    learning_rate: Annotated[float, Gt(0)] = 1e-4
    b1: Annotated[float, Ge(0), Lt(1)] = 0.9
    b2: Annotated[float, Ge(0), Lt(1)] = 0.999
    eps: Annotated[float, Gt(0)] = 1e-6
    weight_decay: Annotated[float, Ge(0)] = 0.01
    max_grad_norm: Annotated[float, Gt(0)] | None = 1.0
    """Gradients are scaled down to this global norm; null: never."""
    layer_decay: Annotated[float, Gt(0)] = 1.0
    """Learning-rate factor per step down from the head; 1: the same everywhere."""
    freeze: tuple[str, ...] = ()
    """Regular expressions of parameter paths that are not trained, e.g. `encoder/embeddings`."""


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule, params: Any
) -> optax.GradientTransformation:
    """Clipping over all trained parameters, then AdamW per depth group.

    Decay is decoupled (learning_rate * weight_decay * parameter) as in `torch.optim.AdamW`.
    Frozen parameters are not updated and hold no state. `params` may be abstract.
    """
    labels = group_labels(params, config.freeze)
    num_layers = depth(params)
    factors = learning_rate_factors(num_layers, config.layer_decay)
    groups: dict[str, optax.GradientTransformation] = {
        group: _adamw(config, _scaled(schedule, factor)) for group, factor in factors.items()
    }
    groups[FROZEN] = optax.set_to_zero()
    update = optax.multi_transform(groups, labels)
    if config.max_grad_norm is None:
        return update
    trained = jax.tree.map(lambda label: label != FROZEN, labels)
    clip = optax.masked(optax.clip_by_global_norm(config.max_grad_norm), trained)
    return optax.chain(clip, update)


def _adamw(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=lambda tree: map_with_path(lambda path, _: is_decayed(path), tree),
    )


def _scaled(schedule: optax.Schedule, factor: float) -> optax.Schedule:
    return lambda count: schedule(count) * factor
