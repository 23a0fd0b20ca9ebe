"""Learning-rate schedules: linear warm-up, then one of eight shapes."""

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, Le

from jaxbert.errors import UserError
from jaxbert.options import check_options


@dataclass(frozen=True)
class ScheduleConfig:
    """Shape of the learning rate over a run of known length."""

    kind: Literal[
        "linear",
        "cosine",
        "cosine_restarts",
        "polynomial",
        "inverse_sqrt",
        "constant",
        "slanted_triangular",
        "warmup_stable_decay",
    ] = "linear"
    """The way from the peak, to which the warm-up leads, to the end of the run."""
    warmup_steps: Annotated[float, Ge(0)] = 0.0
    """Steps of linear warm-up from 0; below 1: a fraction of the run, rounded up (as in
    transformers)."""
    end_factor: Annotated[float, Ge(0), Le(1)] = 0.0
    """Learning rate at the end over the peak (linear, cosine, cosine_restarts, polynomial,
    warmup_stable_decay)."""
    power: Annotated[float, Gt(0)] = 1.0
    """Of the polynomial."""
    cycles: Annotated[int, Ge(1)] = 1
    """cosine_restarts: how often the rate falls from the peak to the end (Loshchilov and Hutter
    2017)."""
    timescale: Annotated[int, Ge(1)] | None = None
    """inverse_sqrt: t in sqrt(t / (t + steps since the warm-up)); null: the warm-up's steps, or
    10,000 without one."""
    ratio: Annotated[float, Gt(1)] = 32.0
    """slanted_triangular: how much smaller the lowest learning rate is than the peak."""
    decay_share: Annotated[float, Gt(0), Le(1)] = 0.1
    """warmup_stable_decay: the share of the run at its end in which the rate falls, rounded up;
    before it the rate stays at the peak (Hu et al. 2024; Warner et al. 2024)."""
    decay_shape: Literal["linear", "sqrt"] = "linear"
    """warmup_stable_decay: along a line, or 1 - sqrt(t) (Hägele et al. 2024), which falls first."""

    def __post_init__(self) -> None:
        check_options(self)
        for field in fields(self):
            readers, value = _READERS.get(field.name), getattr(self, field.name)
            if readers is not None and self.kind not in readers and value != field.default:
                raise UserError(
                    f"schedule.{field.name}={value}: kind={self.kind} does not read it (read by:"
                    f" {', '.join(readers)}); leave it out, or give another schedule.kind"
                )


_READERS: dict[str, tuple[str, ...]] = {
    "end_factor": ("linear", "cosine", "cosine_restarts", "polynomial", "warmup_stable_decay"),
    "power": ("polynomial",),
    "cycles": ("cosine_restarts",),
    "timescale": ("inverse_sqrt",),
    "ratio": ("slanted_triangular",),
    "decay_share": ("warmup_stable_decay",),
    "decay_shape": ("warmup_stable_decay",),
}
"""Options that not every kind has a use for, and the kinds that do."""


def make_schedule(config: ScheduleConfig, peak: float, num_steps: int) -> optax.Schedule:
    """Learning rate at update 0, 1, ... `num_steps` - 1; the kinds of transformers are its own.

    slanted_triangular is Howard and Ruder 2018, equation 3, with `warmup_steps` as the cut.
    """
    if not isinstance(config, ScheduleConfig):
        raise UserError(
            f"config is {config!r}: expected a ScheduleConfig, such as "
            "ScheduleConfig('linear', warmup_steps=0.1)"
        )
    warmup = _warmup_steps(config, num_steps)
    if config.kind == "slanted_triangular":
        return _slanted_triangular(config, peak, num_steps, warmup)
    end = peak * config.end_factor
    rest = max(num_steps - warmup, 1)
    decay: optax.Schedule
    match config.kind:
        case "linear":
            decay = optax.linear_schedule(peak, end, rest)
        case "cosine":
            decay = optax.cosine_decay_schedule(peak, rest, alpha=config.end_factor)
        case "cosine_restarts":
            if rest * config.cycles >= 2**31:
                raise UserError(
                    f"schedule.cycles={config.cycles}: too many for {rest:,} steps, which are "
                    "counted in 32 bits: their product must stay below 2^31"
                )
            decay = _cosine_restarts(peak, end, config.cycles, rest)
        case "inverse_sqrt":
            decay = _inverse_sqrt(peak, config.timescale or warmup or 10_000)
        case "polynomial":
            decay = _polynomial(peak, end, config.power, rest)
        case "constant":
            decay = optax.constant_schedule(peak)
        case "warmup_stable_decay":
            decay = _stable_decay(config, peak, num_steps, warmup)
    if warmup == 0:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def _warmup_steps(config: ScheduleConfig, num_steps: int) -> int:
    warmup = config.warmup_steps
    if warmup > 1 and warmup % 1:
        raise UserError(
            f"schedule.warmup_steps={warmup}: expected a whole number of steps, or below 1 a "
            "fraction of the run"
        )
    steps = math.ceil(warmup * num_steps) if warmup < 1 else int(warmup)
    if steps > num_steps:
        raise UserError(
            f"schedule.warmup_steps={steps} exceeds the {num_steps} steps of the run: give fewer, "
            "or a fraction of the run, such as 0.01"
        )
    return steps


def _polynomial(peak: float, end: float, power: float, num_steps: int) -> optax.Schedule:
    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        # optax's own computes 1 - count / num_steps: compiled, that is slightly negative at the
        # end, and a power of it not a number.
        remaining = jnp.maximum(num_steps - jnp.asarray(count), 0) / num_steps
        return end + (peak - end) * remaining**power

    return schedule


def _cosine_restarts(peak: float, end: float, cycles: int, num_steps: int) -> optax.Schedule:
    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(count)
        # In integers: a restart that rounding moves by a step is the peak instead of the end.
        phase = (step * cycles % num_steps) / num_steps
        height = jnp.where(step < num_steps, (1 + jnp.cos(jnp.pi * phase)) / 2, 0.0)
        return end + (peak - end) * height

    return schedule


def _inverse_sqrt(peak: float, timescale: int) -> optax.Schedule:
    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        return peak * jnp.sqrt(timescale / (jnp.asarray(count) + timescale))

    return schedule


def _stable_decay(
    config: ScheduleConfig, peak: float, num_steps: int, warmup: int
) -> optax.Schedule:
    falling = math.ceil(config.decay_share * num_steps)
    stable = num_steps - warmup - falling
    if stable < 0:
        raise UserError(
            f"schedule.decay_share={config.decay_share}: the warm-up's {warmup} steps and the"
            f" decay's {falling} are more than the {num_steps} of the run"
        )

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        done = jnp.clip((jnp.asarray(count) - stable) / falling, 0.0, 1.0)
        done = jnp.sqrt(done) if config.decay_shape == "sqrt" else done
        return peak * (config.end_factor + (1 - config.end_factor) * (1 - done))

    return schedule


def _slanted_triangular(
    config: ScheduleConfig, peak: float, num_steps: int, cut: int
) -> optax.Schedule:
    if not 0 < cut < num_steps:
        raise UserError(
            f"schedule.warmup_steps={config.warmup_steps}: slanted_triangular rises for "
            f"warmup_steps and falls for the rest, so it must lie between 0 and {num_steps}"
        )

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.minimum(jnp.asarray(count, jnp.float32), num_steps)
        falling = 1 - (step - cut) / (num_steps - cut)
        height = jnp.where(step < cut, step / cut, falling)
        return peak * (1 + height * (config.ratio - 1)) / config.ratio

    return schedule
