"""Schedules against formulas in float64."""

import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from jaxbert.config import parse_config, to_yaml
from jaxbert.errors import UserError
from jaxbert.optim.schedule import ScheduleConfig, make_schedule

PEAK, STEPS = 3e-4, 40
KINDS = get_type_hints(ScheduleConfig)["kind"]
END, POWER, RATIO, CYCLES, TIMESCALE, SHARE = 0.1, 2.5, 20.0, 3, 13, 0.26


def done(step: int, warmup: int) -> float:
    """How much of the decay is over."""
    return (step - warmup) / (STEPS - warmup)


AFTER_WARMUP: dict[str, Callable[[int, int], float]] = {
    "linear": lambda t, w: END + (1 - END) * (1 - done(t, w)),
    "cosine": lambda t, w: END + (1 - END) * (1 + math.cos(math.pi * done(t, w))) / 2,
    "polynomial": lambda t, w: END + (1 - END) * (1 - done(t, w)) ** POWER,
    "cosine_restarts": lambda t, w: (
        END
        + (1 - END) * (1 + math.cos(math.pi * (CYCLES * (t - w) % (STEPS - w)) / (STEPS - w))) / 2
    ),
    "inverse_sqrt": lambda t, w: (TIMESCALE / (t - w + TIMESCALE)) ** 0.5,
    "constant": lambda t, w: 1.0,
    # The last 10.4 of 40 steps, rounded up.
    "warmup_stable_decay": lambda t, w: END + (1 - END) * (1 - max((t - 29) / 11, 0) ** 0.5),
}


OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {"end_factor": END},
    "cosine": {"end_factor": END},
    "polynomial": {"end_factor": END, "power": POWER},
    "cosine_restarts": {"end_factor": END, "cycles": CYCLES},
    "inverse_sqrt": {"timescale": TIMESCALE},
    "constant": {},
    "slanted_triangular": {"ratio": RATIO},
    "warmup_stable_decay": {"end_factor": END, "decay_share": SHARE, "decay_shape": "sqrt"},
}
"""All that a kind reads, away from its default."""


def config(kind: str, warmup: float) -> ScheduleConfig:
    return ScheduleConfig(kind, warmup, **OPTIONS[kind])  # type: ignore[arg-type]


def rates(schedule_config: ScheduleConfig, steps: int = STEPS) -> np.ndarray:
    schedule = make_schedule(schedule_config, PEAK, steps)
    return np.array([schedule(jnp.asarray(step)) for step in range(steps)])


@pytest.mark.parametrize(("warmup", "steps"), [(0, 0), (7, 7), (0.25, 10), (0.15, 6)])
@pytest.mark.parametrize("kind", AFTER_WARMUP)
def test_warm_up_then_decay_follow_their_formulas(kind: str, warmup: float, steps: int):
    expected = [
        PEAK * (step / steps if step < steps else AFTER_WARMUP[kind](step, steps))
        for step in range(STEPS)
    ]
    np.testing.assert_allclose(rates(config(kind, warmup)), expected, rtol=1e-5, atol=1e-6 * PEAK)


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_a_kind_does_not_read_is_refused_and_its_default_is_not(kind: str):
    every = {name: value for options in OPTIONS.values() for name, value in options.items()}
    for name in every.keys() - OPTIONS[kind].keys():
        readers = ", ".join(other for other in get_args(KINDS) if name in OPTIONS[other])
        message = rf"schedule\.{name}={every[name]}: kind={kind} does not .* by: {readers}\);"
        with pytest.raises(UserError, match=message):
            parse_config(ScheduleConfig, {"kind": kind, name: every[name]})
    written = yaml.safe_load(to_yaml(config(kind, 0.1)))
    assert every.keys() < written.keys()
    assert parse_config(ScheduleConfig, written) == config(kind, 0.1)


@pytest.mark.parametrize("warmup", [4, 0.1])
def test_slanted_triangular_is_equation_3_of_howard_and_ruder(warmup: float):
    """T = 40 and cut_frac = 0.1 as in the paper, so that cut = floor(T cut_frac) = 4 exactly."""
    cut_frac = 0.1
    cut = math.floor(STEPS * cut_frac)

    def eta(t: int) -> float:
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        return PEAK * (1 + p * (RATIO - 1)) / RATIO

    found = rates(config("slanted_triangular", warmup))
    np.testing.assert_allclose(found, [eta(t) for t in range(STEPS)], rtol=1e-5)
    assert found[0] == pytest.approx(PEAK / RATIO)
    assert found.argmax() == cut


@pytest.mark.parametrize(
    "kind", ["linear", "cosine", "cosine_restarts", "polynomial", "warmup_stable_decay"]
)
def test_past_the_end_the_rate_stays_where_it_ended(kind: str):
    schedule = jax.jit(make_schedule(config(kind, 5), PEAK, STEPS))
    for step in (STEPS, STEPS + 1, 10 * STEPS):
        assert float(schedule(step)) == pytest.approx(PEAK * END)


def test_past_the_end_the_slanted_triangle_stays_at_its_lowest():
    schedule = jax.jit(make_schedule(config("slanted_triangular", 5), PEAK, STEPS))
    assert float(schedule(STEPS + 7)) == pytest.approx(PEAK / RATIO)


@pytest.mark.parametrize(
    ("fraction", "steps", "expected"), [(0.1, 25, 3), (0.1, 30, 3), (0.01, 25, 1)]
)
def test_a_fraction_of_the_run_rounds_up_as_in_transformers(
    fraction: float, steps: int, expected: int
):
    found = rates(ScheduleConfig("linear", fraction), steps)
    np.testing.assert_array_equal(found, rates(ScheduleConfig("linear", expected), steps))


@pytest.mark.parametrize("kind", ["linear", "slanted_triangular"])
def test_a_warm_up_longer_than_the_run_is_refused(kind: str):
    with pytest.raises(UserError, match=r"schedule.warmup_steps=41 .* 40 steps"):
        make_schedule(config(kind, 41), PEAK, STEPS)


def test_a_stable_rate_falls_along_a_line_in_the_last_tenth_if_nothing_else_is_said():
    found = rates(ScheduleConfig("warmup_stable_decay", 8))
    expected = [*np.arange(8) / 8, *[1.0] * 28, *1 - np.arange(4) / 4]
    np.testing.assert_allclose(found, PEAK * np.array(expected), rtol=1e-6)


def test_warm_up_and_decay_longer_than_the_run_are_refused():
    with pytest.raises(UserError, match=r"decay_share=0\.26: .* 30 steps .* 11 .* 40 of the run"):
        make_schedule(config("warmup_stable_decay", 30), PEAK, STEPS)


@pytest.mark.parametrize("warmup", [0, 40])
def test_a_slanted_triangle_needs_both_sides(warmup: int):
    with pytest.raises(UserError, match="between 0 and 40"):
        make_schedule(config("slanted_triangular", warmup), PEAK, STEPS)


def test_a_warm_up_as_long_as_the_run_never_decays():
    expected = PEAK * np.arange(STEPS) / STEPS
    np.testing.assert_allclose(rates(config("linear", STEPS)), expected, rtol=1e-5)


def test_a_warm_up_of_half_a_step_more_is_refused():
    with pytest.raises(UserError, match=r"warmup_steps=4\.5: expected a whole number"):
        make_schedule(config("linear", 4.5), PEAK, STEPS)


def test_more_restarts_than_32_bits_can_count_are_refused():
    config = ScheduleConfig("cosine_restarts", warmup_steps=0, cycles=1000)
    assert float(make_schedule(config, 1.0, 2_000_000)(1_999_999)) < 1e-5
    with pytest.raises(UserError, match="too many for 3,000,000 steps"):
        make_schedule(config, 1.0, 3_000_000)


@pytest.mark.parametrize("given", ["linear", {"kind": "linear"}, None])
def test_the_name_of_a_schedule_is_not_its_configuration(given: Any):
    with pytest.raises(UserError, match=r"^config is .*: expected a ScheduleConfig"):
        make_schedule(given, PEAK, STEPS)
