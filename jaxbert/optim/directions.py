"""From gradients to the directions of steps, decay included: one function for every optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbert.optim.groups import is_decayed
from jaxbert.optim.kinds import Adafactor, AdamW, Lamb, Lion, Muon, OptimizerConfig
from jaxbert.tree import map_with_path, matches

Decay = Callable[[str], float]
"""Path -> weight decay."""

LEAST_RMS = 1e-3
"""Root mean square from which on LAMB's ratio counts an array as it is: what Adafactor's rate is
relative to has the same least value (Shazeer and Stern 2018, section 8)."""

MUON_PARAMETERS = (r"encoder/layers/.*/kernel$",)


def direction(config: OptimizerConfig, decay: Decay) -> optax.GradientTransformation:
    """What a step is a learning rate times, and downhill of."""
    match config:
        case AdamW():
            return optax.chain(_adam(config), decayed(decay))
        case Adafactor():
            return optax.chain(_adafactor(config), decayed(decay))
        case Lamb():
            # The decay has its part in the norm that the step is scaled by.
            adam = optax.scale_by_adam(config.b1, config.b2, config.eps)
            return optax.chain(adam, decayed(decay), _trusted())
        case Lion():
            return optax.chain(optax.scale_by_lion(config.b1, config.b2), decayed(decay))
        case Muon():
            return optax.chain(_muon(config), decayed(decay))


def decayed(decay: Decay) -> optax.GradientTransformation:
    """Adds to every update its parameter times the weight decay of its path."""

    def add(path: str, update: jax.Array, parameter: jax.Array) -> jax.Array:
        rate = decay(path)
        return update + rate * parameter if rate else update

    return optax.stateless(lambda updates, params: map_with_path(add, updates, params))


def scaled(factor: Callable[[str], float]) -> optax.GradientTransformation:
    """Multiplies every update by the factor of its path."""

    def scale(path: str, update: jax.Array) -> jax.Array:
        return update if factor(path) == 1.0 else update * factor(path)

    return optax.stateless(lambda updates, _: map_with_path(scale, updates))


class MomentState(NamedTuple):
    """Moments without the number of updates, which only a bias correction needs."""

    mu: Any
    nu: Any


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam's moments as they are, which begin at zero: `optimization.py` of Devlin et al. 2018."""

    def init(params: Any) -> MomentState:
        return MomentState(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates: Any, state: MomentState, params: Any = None) -> tuple[Any, MomentState]:
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu), MomentState(mu, nu)

    return optax.GradientTransformation(init, update)


def _adam(config: AdamW) -> optax.GradientTransformation:
    scale = optax.scale_by_adam if config.bias_correction else scale_by_uncorrected_adam
    return scale(config.b1, config.b2, config.eps)


def _trusted() -> optax.GradientTransformation:
    """LAMB's ratio of norms, for what decay acts on: `lamb_optimizer.py` of Lan et al. 2020.

    A bias begins at zero and would stay near it: a step would be in proportion to its norm. So
    would a table that begins at zero, DeBERTa-v3's difference of embeddings.
    """

    def scale(path: str, update: jax.Array, parameter: jax.Array) -> jax.Array:
        if not is_decayed(path):
            return update
        norm = jnp.maximum(optax.tree.norm(parameter), LEAST_RMS * parameter.size**0.5)
        length = optax.tree.norm(update)
        return update * jnp.where(length > 0, norm / jnp.where(length > 0, length, 1.0), 1.0)

    return optax.stateless(lambda updates, params: map_with_path(scale, updates, params))


def _adafactor(config: Adafactor) -> optax.GradientTransformation:
    parts = [
        optax.scale_by_factored_rms(
            decay_rate=config.decay_rate, min_dim_size_to_factor=config.min_dim_size_to_factor
        )
    ]
    if config.clipping_threshold is not None:
        parts.append(optax.clip_by_block_rms(config.clipping_threshold))
    if config.scale_parameter:
        parts.append(optax.scale_by_param_block_rms())
    return optax.chain(*parts)


def _muon(config: Muon) -> optax.GradientTransformation:
    matrices = optax.chain(
        optax.contrib.scale_by_muon(
            ns_steps=config.ns_steps,
            beta=config.momentum,
            weight_dimension_numbers=lambda tree: jax.tree.map(
                lambda _: optax.contrib.MuonDimensionNumbers(), tree
            ),
        ),
        optax.stateless(
            lambda updates, _: jax.tree.map(lambda x: x * _muon_scale(config, x), updates)
        ),
    )
    adam = optax.scale_by_adam(config.b1, config.b2, config.eps)

    def label(path: str, leaf: Any) -> str:
        return "muon" if leaf.ndim == 2 and matches(MUON_PARAMETERS, path) else "adam"

    return optax.partition(
        {"muon": matrices, "adam": adam}, lambda tree: map_with_path(label, tree)
    )


def _muon_scale(config: Muon, update: jax.Array) -> float:
    inputs, outputs = update.shape
    if config.consistent_rms is None:
        return float(max(1.0, outputs / inputs) ** 0.5)
    return float(max(inputs, outputs) ** 0.5 * config.consistent_rms)
