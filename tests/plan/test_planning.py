"""What is said of a compiler that does not come to its end."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from test_plan_search import CONFIG, VALUES, answer

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan import planning
from jaxbert.plan.chips import CHIPS

PRINTED = "Traceback:\njax.errors.JaxRuntimeError: INTERNAL: no\nmore words\n"


@pytest.fixture
def ends(monkeypatch):
    """Gives the worker a way to end: a report or none, a status, and what it prints."""

    def make(report, status, printed):
        def run(words, **_):
            if report is not None:
                Path(words[-1]).write_text(json.dumps(report), encoding="utf-8")
            return subprocess.CompletedProcess(words, status, "", printed)

        monkeypatch.setattr(planning.subprocess, "run", run)
        monkeypatch.setattr(planning, "check_libtpu", lambda: None)
        return planning.plan(CONFIG, "v5e:2x4")

    return make


def test_what_was_reported_before_the_end_is_kept_with_the_reason(ends):
    [phase] = ends(dataclasses.asdict(answer(1.0)), -6, PRINTED).phases
    assert phase.fits
    [note] = phase.notes
    assert note.endswith("status -6: jax.errors.JaxRuntimeError: INTERNAL: no")


def test_an_end_before_any_report_is_one_line(ends):
    with pytest.raises(UserError, match="status -11: it said nothing"):
        ends(None, -11, "")


def test_the_mistake_of_a_user_comes_through(ends):
    with pytest.raises(UserError, match=r"^mesh: no$"):
        ends({"error": "mesh: no"}, 0, "")


@pytest.mark.parametrize(
    ("overrides", "topology", "said"),
    [
        (["mesh.fsdp=3"], "v5e:2x4", "fsdp=3, tensor=1 needs a multiple of 3 devices, there are 8"),
        (["mesh.data=4"], "tpu7x:2x2x1", "needs 4 devices, there are 8"),
        ([], "2xv5e:2x4", "set mesh.replica=2"),
        (["batch_size=12"], "v5e:2x4", "batch_size=12 is not a multiple of step.accum"),
        (["evaluation_batch_size=12"], "v5e:2x4", "evaluation_batch_size=12 is not a"),
        (["phases=[{first_step: 4, batch_size: 12}]"], "v5e:2x4", "batch_size=12 is not a"),
    ],
)
def test_what_devices_do_not_divide_is_said_before_a_process_starts(
    monkeypatch, overrides, topology, said
):
    monkeypatch.setattr(planning.subprocess, "run", None)
    with pytest.raises(UserError) as caught:
        planning.plan(parse_config(Pretrain, VALUES, overrides), topology)
    assert said in str(caught.value)


def test_every_chip_has_the_peak_that_training_knows():
    peaks = {name: chip.peak_flops * chip.devices_per_chip for name, chip in CHIPS.items()}
    assert (peaks["v5e"], peaks["tpu7x"]) == (197e12, 2307e12)
    assert len(peaks) == len(set(peaks.values()))
