"""The search, with a compiler that answers at once."""

import json
from dataclasses import replace

import pytest
import yaml

from jaxbert.cli import main
from jaxbert.cli.plan_tables import print_plan
from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan import planning
from jaxbert.plan.report import Figure, PhaseReport, Plan
from jaxbert.plan.search import Trial, best_first, search
from jaxbert.plan.sources import Operation

VALUES = {"store": "nowhere", "model": {"preset": "bert-tiny"}, "num_steps": 10}
CONFIG = parse_config(Pretrain, VALUES)


def answer(hours, *, fits=True, num_chips=8, num_devices=None):
    phase = PhaseReport(0, 10, 32, 4, 128, {"data": num_devices or num_chips}, fits)
    totals = {} if hours is None else {"hours": Figure(hours, "hours", "")}
    return Plan("v5e:2x4", num_chips, {}, [], [phase], totals)


def searched(config, compiled):
    return best_first(search(config, compiled))


def test_the_fastest_that_fits_comes_first_and_choices_build_on_it():
    asked = []

    def compiled(config):
        parts, mesh = config.step.accumulation_steps, config.mesh
        asked.append((parts, config.execution.remat, mesh.fsdp, mesh.tensor))
        if config.execution.attention == "splash":
            raise UserError("no dropout")
        if mesh.tensor > 1:
            raise UserError(f"heads do not divide by {mesh.tensor}")
        slower = 0.1 * (config.execution.remat != "none") + 0.5 * (mesh.fsdp == "auto")
        slower += 0.2 * config.step.shard_optimizer
        return answer(parts + slower, fits=parts > 1)

    trials = searched(CONFIG, compiled)
    assert trials[0].overrides == ("step.accumulation_steps=2", "execution.remat=none")
    assert asked == [
        *((1, "none", 1, 1), (1, "attention", 1, 1), (1, "products", 1, 1)),
        *((2, "none", 1, 1), (2, "products", 1, 1)),
        # What is split more is tried with less computed again, until that does not fit.
        *((2, "none", "auto", 1), (1, "products", "auto", 1)),
        *((2, "none", 1, 2), (2, "none", 1, 4), (2, "none", 1, 8)),
        # With the optimiser's state split.
        *((2, "none", 1, 1), (1, "products", 1, 1)),
        # By three kernels, of which one is refused.
        *((2, "none", 1, 1), (1, "products", 1, 1)),
        *((2, "none", 1, 1), (2, "none", 1, 1), (1, "products", 1, 1)),
    ]
    tried = [trial.plan.fits for trial in trials if trial.plan is not None]
    assert tried == [True] * 6 + [False] * 7


@pytest.mark.parametrize(
    ("kernels", "others"),
    [
        ([], ["fused", "splash"]),
        (["splash_mha_fwd_segmented_residuals"], ["fused", "xla"]),
        (["fused_attention_backward", "fused_attention_forward"], ["splash", "xla"]),
        # Of some layers one, of others the other.
        (["fused_attention_forward", "splash_mha_dkv"], ["fused", "splash", "xla"]),
    ],
)
def test_the_kernel_that_auto_took_is_not_compiled_again(kernels, others):
    asked = []

    def compiled(config):
        asked.append(config.execution.attention)
        found = answer(1.0)
        found.phases[0].figures["step_time"] = Figure(1.0, "seconds", "")
        found.phases[0].kernels.extend(kernels)
        return found

    searched(CONFIG, compiled)
    assert [name for name in asked if name != "auto"] == others


def test_what_saves_memory_for_free_is_taken_and_less_is_computed_again():
    """Split parameters leave room for what four microbatches were needed for."""

    def compiled(config):
        parts, is_split = config.step.accumulation_steps, config.mesh.fsdp == "auto"
        remat = {"none": 0, "attention": 0.5, "products": 1, "full": 2}[config.execution.remat]
        needed = 4.0 - parts + (2 - remat) - 3 * is_split
        return answer(parts + remat + 0.5 * is_split, fits=needed <= 1)

    best = searched(CONFIG, compiled)[0]
    assert best.plan.totals["hours"].value == 2.5
    assert set(best.overrides) >= {"mesh.fsdp=auto", "step.accumulation_steps=2"}


def test_a_configuration_that_does_not_fit_may_fit_otherwise():
    def compiled(config):
        return answer(1.0, fits=config.mesh.fsdp == "auto")

    best = searched(CONFIG, compiled)[0]
    assert best.plan.fits
    assert "mesh.fsdp=auto" in best.overrides


def test_one_chip_is_not_split():
    asked = []

    def compiled(config):
        asked.append((config.mesh, config.step.shard_optimizer))
        return answer(1.0, num_chips=1)

    searched(CONFIG, compiled)
    assert len(set(asked)) == 1


def test_a_chip_of_two_devices_may_be_split():
    asked = []

    def compiled(config):
        asked.append(config.mesh.fsdp)
        return answer(1.0, num_chips=1, num_devices=2)

    searched(CONFIG, compiled)
    assert set(asked) == {1, "auto"}


def test_what_has_no_time_is_not_the_fastest():
    untimed, timed = Trial(("a=1",), answer(None)), Trial(("a=2",), answer(1000.0))
    large, refused = Trial(("a=3",), answer(1.0, fits=False)), Trial((), None, "no")
    assert best_first([refused, large, untimed, timed]) == [timed, untimed, large, refused]


def test_refusals_are_kept_beside_what_works_and_raised_where_nothing_does():
    def refusing_others(config):
        if config != CONFIG:
            raise UserError("no")
        return answer(1.0)

    trials = searched(CONFIG, refusing_others)
    assert trials[0].overrides == ()
    assert {trial.refusal for trial in trials[1:]} == {"no"}

    asked = []

    def refusing(config):
        asked.append(config)
        raise UserError("nothing works")

    with pytest.raises(UserError, match="nothing works"):
        searched(CONFIG, refusing)
    # Another value of the same choice is no use where the first changed nothing, but for kernels.
    assert len(asked) < 9


def test_microbatches_are_tried_where_rows_are_compared():
    values = {"model": "bert-base-uncased", "train": "train.csv", "num_steps": 10}
    config = parse_config(Finetune, values | {"task": {"kind": "sentence_embedding"}})

    def compiled(config):
        return answer(1.0, fits=config.step.accumulation_steps > 1)

    assert searched(config, compiled)[0].overrides[0] == "step.accumulation_steps=2"


@pytest.fixture
def plan_search(monkeypatch, tmp_path):
    """The command with a compiler of the test's; gives status and trials in the file."""
    config, found = tmp_path / "pretrain.yaml", tmp_path / "plan.json"
    config.write_text(yaml.safe_dump(VALUES), encoding="utf-8")

    def run(compiled):
        monkeypatch.setattr(planning, "plan", lambda config, **_: compiled(config))
        words = ["plan", str(config), "--topology", "v5e:2x4", "--search", "--json", str(found)]
        status = main(words)
        return status, json.loads(found.read_text())["trials"] if found.is_file() else None

    return run


def test_the_command_tells_every_trial_and_ends_with_the_best(plan_search, capsys):
    def compiled(config):
        if config.execution.attention == "splash":
            raise UserError("no dropout")
        return answer(2.0 - config.step.shard_optimizer)

    status, trials = plan_search(compiled)
    printed = capsys.readouterr()
    assert status == 0
    assert "trial 1: as configured\n  fits, 2.00 hours\n" in printed.err
    assert printed.err.count("trial ") == len(trials)
    assert trials[0]["plan"]["totals"]["hours"]["value"] == 1.0
    assert "step.shard_optimizer=true execution.attention=splash: no dropout" in printed.out
    assert printed.out.endswith("the fastest that fits: step.shard_optimizer=true\n")


def test_what_was_found_before_an_interruption_is_shown_and_kept(plan_search, capsys):
    def compiled(config):
        if config.mesh.fsdp == "auto":
            raise KeyboardInterrupt
        return answer(1.0 + (config.execution.remat == "none"))

    status, trials = plan_search(compiled)
    assert status == 130
    printed = capsys.readouterr()
    best = "step.accumulation_steps=1 execution.remat=attention"
    assert printed.err.endswith("interrupted: the best so far\n")
    assert printed.out.endswith(f"the fastest that fits: {best}\n")
    assert [trial["plan"]["totals"]["hours"]["value"] for trial in trials] == [1.0, 1.0, 2.0]


def test_an_interruption_before_anything_was_found_is_only_that(plan_search, capsys):
    def compiled(config):
        raise KeyboardInterrupt

    assert plan_search(compiled) == (130, None)
    assert capsys.readouterr().err.endswith("jaxbert plan: interrupted\n")


def test_texts_of_a_search_are_refused(capsys):
    words = ["plan", "none.yaml", "--topology", "v5e:2x4", "--search", "--texts", "texts"]
    assert main(words) == 2
    assert "each trial of --search would replace the last" in capsys.readouterr().err


def test_the_lines_of_source_code_are_whole_where_the_terminal_is_narrow(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    place = "jaxbert/optim/a_long_name_of_a_file.py:1234"
    operation = Operation(place, place, "backward", "jit/dot_general", 3.0, 2.0)
    plan = answer(1.0)
    figures = {"estimated_cycles": Figure(4.0, "cycles", "")}
    [phase] = plan.phases
    phase = replace(phase, figures=figures, most_expensive=[operation])
    print_plan(replace(plan, phases=[phase]))
    rows = [
        line.split("\N{BOX DRAWINGS LIGHT VERTICAL}")
        for line in capsys.readouterr().out.split("\n")
    ]
    assert place in "".join(row[1].strip() for row in rows if len(row) == 8)
