"""Schedules against those of transformers, step by step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import get_scheduler

from jaxbert.optim.schedule import ScheduleConfig, make_schedule

PEAK, STEPS = 2e-3, 57

KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "linear": ("linear", {}, {}),
    "constant": ("constant_with_warmup", {}, {}),
    "cosine": ("cosine", {}, {}),
    "cosine to a tenth": ("cosine_with_min_lr", {"end_factor": 0.1}, {"min_lr_rate": 0.1}),
    "cosine_restarts": ("cosine_with_restarts", {"cycles": 3}, {"num_cycles": 3}),
    "polynomial": (
        "polynomial",
        {"power": 2.0, "end_factor": 0.05},
        {"power": 2.0, "lr_end": 0.05 * PEAK},
    ),
    "warmup_stable_decay": (
        "warmup_stable_decay",
        {"decay_share": 0.15},
        # Of 57 steps 8.55, rounded up. Its warm-up would start from another end than 0.
        {"num_decay_steps": 9, "decay_type": "linear"},
    ),
    "inverse_sqrt": ("inverse_sqrt", {}, {}),
    "inverse_sqrt, timescale": ("inverse_sqrt", {"timescale": 5}, {"timescale": 5}),
}


@pytest.mark.parametrize("warmup", [0, 1, 6, 19])
@pytest.mark.parametrize("name", KINDS)
def test_a_schedule_is_that_of_transformers(name: str, warmup: int):
    theirs, ours, options = KINDS[name]
    parameter = torch.nn.Parameter(torch.zeros(1))
    reference = get_scheduler(
        theirs,
        torch.optim.SGD([parameter], lr=PEAK),
        num_warmup_steps=warmup,
        num_training_steps=STEPS,
        scheduler_specific_kwargs=options,
    )
    steps = np.arange(STEPS + 3)
    expected = [PEAK * reference.lr_lambdas[0](int(step)) for step in steps]
    config = ScheduleConfig(name.split()[0].strip(","), warmup, **ours)  # type: ignore[arg-type]
    found = jax.vmap(make_schedule(config, PEAK, STEPS))(jnp.asarray(steps))
    # Past the end transformers' cosine would rise again; a run has no such steps.
    past = slice(STEPS if theirs.startswith("cosine") else None)
    np.testing.assert_allclose(
        np.broadcast_to(found, steps.shape)[past], expected[past], rtol=2e-6, atol=1e-6 * PEAK
    )
