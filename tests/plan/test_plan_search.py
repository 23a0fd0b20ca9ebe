"""The search, with a compiler that answers at once."""

import pytest

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan.report import Figure, PhaseReport, Plan
from jaxbert.plan.search import search

CONFIG = parse_config(
    Pretrain, {"store": "nowhere", "model": {"preset": "bert-tiny"}, "num_steps": 10}
)


def answer(hours, *, fits=True):
    phase = PhaseReport(0, 10, 32, 4, 128, {"data": 8}, fits)
    return Plan("v5e:2x4", 8, {}, [], [phase], {"hours": Figure(hours, "hours", "")})


def test_the_fastest_that_fits_comes_first_and_choices_build_on_it():
    asked = []

    def compiled(config):
        parts, mesh = config.step.accumulation_steps, config.mesh
        asked.append((parts, config.execution.remat, mesh.fsdp))
        if config.execution.attention == "splash":
            raise UserError("no dropout")
        if mesh.tensor == 2:
            raise UserError("heads do not divide")
        slower = 0.1 * (config.execution.remat != "none") + 0.5 * (mesh.fsdp == -1)
        slower += 0.2 * config.step.shard_optimizer
        return answer(parts + slower, fits=parts > 1)

    trials = search(CONFIG, compiled)
    assert trials[0].overrides == ("step.accumulation_steps=2", "execution.remat=none")
    assert asked == [
        *((1, "none", 1), (1, "products", 1), (2, "none", 1), (2, "products", 1)),
        (2, "none", -1),
        # With the optimiser's state split, then by two kernels, of which one is refused.
        *[(2, "none", 1)] * 3,
    ]
    tried = [trial.plan.fits for trial in trials if trial.plan is not None]
    assert tried == [True] * 5 + [False] * 2


def test_a_configuration_that_does_not_fit_may_fit_otherwise():
    def compiled(config):
        return answer(1.0, fits=config.mesh.fsdp == -1)

    best = search(CONFIG, compiled)[0]
    assert best.plan.fits
    assert "mesh.fsdp=-1" in best.overrides


def test_refusals_are_kept_beside_what_works_and_raised_where_nothing_does():
    def refusing_others(config):
        if config != CONFIG:
            raise UserError("no")
        return answer(1.0)

    trials = search(CONFIG, refusing_others)
    assert trials[0].overrides == ()
    assert {trial.refusal for trial in trials[1:]} == {"no"}

    def refusing(config):
        raise UserError("nothing works")

    with pytest.raises(UserError, match="nothing works"):
        search(CONFIG, refusing)
