"""A pretraining run that is given more steps, or others than it was begun with."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from experiment.small_runs import pretraining, weights

from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.errors import UserError
from jaxbert.experiment.extension import Steps, check_steps_taken
from jaxbert.experiment.pretrain import pretrain
from jaxbert.experiment.pretraining_data import DataPhase
from jaxbert.experiment.run_files import read_run_config, steps_taken
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.training.goodput import read_sessions

DATA = PretrainingDataConfig()
RUN = Path("runs/base")


def test_a_finished_run_that_is_given_more_steps_ends_as_the_longer_run(store, tmp_path):
    plan = ("schedule.kind=constant", "schedule.warmup_steps=2", "loop.evaluate_every=null")
    longer = (*plan, "num_steps=7", "phases=[{first_step: 5, batch_size: 16, max_seq_length: 24}]")
    whole, run = tmp_path / "whole", tmp_path / "run"
    pretrain(pretraining(store, *longer), whole, quiet=True)
    pretrain(pretraining(store, *plan, "num_steps=4"), run, quiet=True)
    before = weights(run)
    pretrain(pretraining(store, *longer), run, quiet=True)
    assert weights(run) == weights(whole) != before
    assert read_run_config(run)["num_steps"] == 7
    assert [session["outcome"] for session in read_sessions(run)] == ["finished", "finished"]
    other = pretraining(store, *longer, "optimizer.weight_decay=0.5")
    with pytest.raises(UserError, match=r"another configuration \(optimizer.weight_decay"):
        pretrain(other, run, quiet=True)


def test_a_run_that_fell_goes_on_from_a_checkpoint_before_the_fall(store, tmp_path):
    plan = (
        *("schedule.kind=warmup_stable_decay", "schedule.decay_share=0.5"),
        *("loop.checkpoint_every=2", "loop.evaluate_every=null", "checkpoint.keep_every=4"),
        "checkpoint.keep_last=1",
    )
    whole, run = tmp_path / "whole", tmp_path / "run"
    longer = pretraining(store, *plan, "num_steps=10")
    pretrain(longer, whole, quiet=True)
    pretrain(pretraining(store, *plan, "num_steps=6"), run, quiet=True)
    refused = r"taken 6 steps.* step 5 would .*go on from that of 4;.*convert \S+run DEST --step 4`"
    with pytest.raises(UserError, match=refused):
        pretrain(longer, run, quiet=True)
    assert read_run_config(run)["num_steps"] == 6
    shutil.rmtree(run / "checkpoints" / "6")
    assert steps_taken(run) == 4
    assert pretrain(longer, run, quiet=True).step == 10
    assert weights(run) == weights(whole)


def steps(number: int, kind: str = "linear", **schedule: float) -> Steps:
    return Steps(number, [DataPhase(0, 8, DATA)], ScheduleConfig(kind, **schedule), 1e-3)


@pytest.mark.parametrize("kind", ["constant", "inverse_sqrt", "warmup_stable_decay"])
def test_schedules_that_do_not_know_the_end_go_on(kind):
    check_steps_taken(
        RUN, 900, steps(1000, kind, warmup_steps=10), steps(5000, kind, warmup_steps=10)
    )
    for now in (steps(1000, kind, warmup_steps=11), steps(5000, kind, warmup_steps=0.01)):
        with pytest.raises(UserError, match=r"step \d+ would have had the learning rate"):
            check_steps_taken(RUN, 900, steps(1000, kind, warmup_steps=10), now)


def test_the_first_step_of_another_rate_is_named():
    refused = r"step 2 .*rate 0.0009\d*, where it had 0.0008\d*: it has no checkpoint of at most 1 "
    with pytest.raises(UserError, match=refused):
        check_steps_taken(RUN, 3, steps(5), steps(10))
    was, now = steps(5, "linear", warmup_steps=5), steps(50, "cosine", warmup_steps=5)
    check_steps_taken(RUN, 5, was, now)


def test_the_rates_of_the_message_differ():
    with pytest.raises(UserError, match="step 2 ") as error:
        check_steps_taken(RUN, 3, steps(1_000_000), steps(1_100_000))
    now, was = re.findall(r"(?:rate|had) (\d\S+)[,:]", str(error.value))
    assert now != was


def test_a_run_cannot_end_before_where_it_is():
    constant = steps(9, "constant")
    check_steps_taken(RUN, 5, constant, steps(5, "constant"))
    with pytest.raises(UserError, match="has taken 5 steps already: num_steps=4 is less"):
        check_steps_taken(RUN, 5, constant, steps(4, "constant"))


def test_phases_may_change_after_the_steps_taken():
    def phased(*first_steps: int, batch_size: int = 16) -> Steps:
        later = [DataPhase(first, batch_size, DATA) for first in first_steps]
        return replace(steps(90, "constant"), phases=[DataPhase(0, 8, DATA), *later])

    check_steps_taken(RUN, 10, phased(20), phased(10, 30))
    check_steps_taken(RUN, 10, phased(10), phased())
    for now in (phased(), phased(6), phased(5, batch_size=8), phased(5, 7)):
        with pytest.raises(UserError, match="only later ones can be of other phases"):
            check_steps_taken(RUN, 10, phased(5), now)


def test_evaluations_that_are_ranked_stay_those_of_the_same_rows():
    longer = replace(DATA, max_seq_length=512)
    was, now = steps(90, "constant"), steps(200, "constant")
    now = replace(now, phases=[*now.phases, DataPhase(100, 8, longer)])
    check_steps_taken(RUN, 90, was, now)
    ranked = [replace(one, metric="masked_lm_loss") for one in (was, now)]
    with pytest.raises(UserError, match="until now could not be compared"):
        check_steps_taken(RUN, 90, *ranked)
    larger = replace(ranked[1], phases=[*was.phases, DataPhase(100, 16, DATA)])
    check_steps_taken(RUN, 90, ranked[0], larger)
