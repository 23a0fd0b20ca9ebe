"""What is said of a compiler that does not come to its end."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jax.experimental import topologies
from test_plan_search import CONFIG, VALUES, answer

from jaxbert.cli.plan_tables import print_plan
from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan import planning
from jaxbert.plan.chips import CHIPS, topology_of
from jaxbert.plan.compilation import ENVIRONMENT
from jaxbert.plan.report import Figure, PhaseReport, Plan

PRINTED = "Traceback:\njax.errors.JaxRuntimeError: INTERNAL: no\nmore words\n"


@pytest.fixture
def ends(monkeypatch):
    """Gives the worker a way to end: a report or none, a status, and what it prints."""

    def make(report, status, printed, *, topology="v5e:2x4", price=None):
        def run(words, **_):
            if report is not None:
                Path(words[-1]).write_text(json.dumps(report), encoding="utf-8")
            return subprocess.CompletedProcess(words, status, "", printed)

        monkeypatch.setattr(planning.subprocess, "run", run)
        monkeypatch.setattr(planning, "check_libtpu", lambda: None)
        return planning.plan(CONFIG, topology, price_per_chip_hour=price)

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


def test_of_chips_with_two_devices_figures_are_of_one_and_the_price_of_both(ends, capsys):
    figure = Figure(CHIPS["tpu7x"].memory, "bytes", f"of {CHIPS['tpu7x'].device}'s HBM")
    time = Figure(3600.0, "seconds", "")
    phase = PhaseReport(0, 10, 32, 4, 128, {"data": 8}, True, {"memory": figure, "step_time": time})
    answered = Plan("tpu7x:2x2x1", 4, {}, [], [phase])
    planned = ends(dataclasses.asdict(answered), 0, "", topology="tpu7x:2x2x1", price=1.5)
    assert planned.totals["cost"].value == 10 * 4 * 1.5
    print_plan(planned)
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("tpu7x:2x2x1, 4 chips of 2 devices each", "4 a device and", "half a tpu7x's HBM"):
        assert words in printed


def counted(topology):
    """How many devices the compiler has of a topology."""
    described = topologies.get_topology_desc(
        platform="tpu",
        topology_name=topology.slice_name,
        chip_config_name=topology.chip.chip_config,
        num_slices=topology.num_slices,
    )
    return len(described.devices)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_devices_are_as_many_as_those_of_the_compiler():
    names = ["v4:2x2x2", "v5e:2x4", "v5p:2x2x4", "v6e:4x4", "tpu7x:2x2x1", "2xtpu7x:2x2x2"]
    code = (
        "from test_planning import counted, topology_of\n"
        f"print([counted(topology_of(name)) for name in {names}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [topology_of(name).num_devices for name in names]
    assert json.loads(done.stdout)[-2:] == [8, 32]
