"""Every second is someone's, and what restarts cost is told."""

import datetime
import json
import os
from typing import Any

import jax
import pytest

from jaxbert.errors import UserError
from jaxbert.training import ledger as module
from jaxbert.training.goodput import goodput, read_sessions
from jaxbert.training.ledger import Ledger
from jaxbert.training.profile import NO_STEPS, Profile


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def pass_(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def run_a_session(tmp_path, clock, first_step, steps, *, killed=False):
    ledger = Ledger(tmp_path)
    ledger.__enter__()
    clock.pass_(5)
    with ledger.spent("restore"):
        clock.pass_(2)
    ledger.begin(first_step)
    for step in ledger.waiting(slow(clock, range(first_step, first_step + steps))):
        with ledger.spent("dispatch"):
            clock.pass_(1)
        clock.pass_(9)
        ledger.note(step + 1)
    with ledger.spent("save"):
        clock.pass_(4)
    if not killed:
        ledger.__exit__(None, None, None)


def slow(clock, items):
    for item in items:
        clock.pass_(0.5)
        yield item


def test_every_second_belongs_to_one_activity(tmp_path, clock):
    run_a_session(tmp_path, clock, 0, 10)
    (session,) = read_sessions(tmp_path)
    assert (session["first_step"], session["last_step"]) == (0, 10)
    used = {name: seconds for name, seconds in session["seconds"].items() if seconds}
    assert used == {
        "start": 5.0,
        "restore": 2.0,
        "data": 5.0,
        "dispatch": 10.0,
        "train": 90.0,
        "save": 4.0,
    }
    assert sum(used.values()) == clock.now - 100


def test_what_was_done_before_there_was_a_directory_counts(tmp_path, clock):
    now = datetime.datetime.now(datetime.UTC)
    with Ledger(tmp_path, clock.now - 3600):
        clock.pass_(5)
    (session,) = read_sessions(tmp_path)
    assert session["seconds"]["start"] == 3605.0
    ago = now - datetime.datetime.fromisoformat(session["started"])
    assert abs(ago.total_seconds() - 3600) < 60


def test_what_was_compiled_is_taken_from_what_it_interrupted(tmp_path, clock):
    with Ledger(tmp_path) as ledger:
        with ledger.spent("dispatch"):
            clock.pass_(30)
            ledger._compiled("/jax/core/compile/backend_compile_duration", 20.0)
            ledger._compiled("/jax/something/else", 5.0)
        assert ledger.seconds["compile"] == 20
        assert ledger.seconds["dispatch"] == 10


def test_compilations_are_heard_of(tmp_path):
    with Ledger(tmp_path) as ledger:
        jax.jit(lambda x: x * 17.25 + 3)(2.0)
        assert ledger.seconds["compile"] > 0
    before = ledger.seconds["compile"]
    jax.jit(lambda x: x * 18.25 + 3)(2.0)
    assert ledger.seconds["compile"] == before


def test_a_killed_session_costs_what_is_done_again(tmp_path, clock):
    run_a_session(tmp_path, clock, 0, 10, killed=True)
    run_a_session(tmp_path, clock, 6, 10)
    sessions = read_sessions(tmp_path)
    # The first one ended, as far as is known, 4 steps after what the second one began with.
    figures = goodput(sessions)
    assert figures["lost"] == pytest.approx(4 * 9.0)
    assert figures["train"] == pytest.approx(16 * 9.0)
    assert figures["whole"] == pytest.approx(sum(sum(s["seconds"].values()) for s in sessions))
    assert figures["goodput"] == pytest.approx(144 / figures["whole"])


def test_steps_are_lost_however_many_sessions_later_they_are_done_again():
    def session(seconds: float, **steps: int) -> dict[str, Any]:
        started = "2026-01-01T00:00:00+00:00"
        return {"started": started, "seconds": {"train": seconds}, "outcome": "finished", **steps}

    # The second one ended before it began to train, for want of room on the disk.
    sessions = [
        session(10.0, first_step=0, last_step=10),
        session(1.0),
        session(4.0, first_step=6, last_step=10),
    ]
    assert goodput(sessions)["lost"] == 4
    # The last one began before both others had ended: their later checkpoints were damaged.
    sessions = [
        session(10.0, first_step=0, last_step=10),
        session(5.0, first_step=10, last_step=15),
        session(7.0, first_step=8, last_step=15),
    ]
    assert goodput(sessions)["lost"] == 5 + 2


@pytest.mark.parametrize("text", ["", '{"sessions": [{"star', "[]", "{}"])
def test_damaged_figures_are_set_aside_and_do_not_stop_a_run(tmp_path, clock, text, capsys):
    (tmp_path / "goodput.json").write_text(text)
    with pytest.raises(UserError, match=r"goodput\.json: damaged, expected .*; delete it"):
        read_sessions(tmp_path)
    run_a_session(tmp_path, clock, 6, 10)
    assert len(read_sessions(tmp_path)) == 1
    assert (tmp_path / "goodput.json.damaged").read_text() == text
    assert capsys.readouterr().err.endswith(
        "goodput.json is damaged, and now goodput.json.damaged\n"
    )


def test_figures_are_on_disk_before_they_replace_others(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    Ledger(tmp_path).note(1)
    assert sizes == [(tmp_path / "goodput.json").stat().st_size]


def test_the_time_between_sessions_is_down(tmp_path):
    sessions = [
        {"started": "2026-01-01T00:00:00+00:00", "seconds": {"train": 60.0}},
        {"started": "2026-01-01T00:03:00+00:00", "seconds": {"train": 60.0}},
    ]
    assert goodput(sessions)["down"] == 120
    assert goodput(sessions)["goodput"] == 0.5
    assert goodput([])["goodput"] == 0
    for outcome, down in (("preempted", 120), ("finished", 0), ("stopped_early", 0)):
        assert goodput([sessions[0] | {"outcome": outcome}, sessions[1]])["down"] == down


def test_the_file_is_json_at_every_note(tmp_path, clock):
    ledger = Ledger(tmp_path)
    ledger.begin(0)
    for step in range(3):
        clock.pass_(1)
        ledger.note(step + 1)
        found = json.loads((tmp_path / "goodput.json").read_text())
        assert found["sessions"][0]["last_step"] == step + 1


def test_only_the_chosen_steps_are_traced(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda path: calls.append(("start", path)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append(("stop",)))
    profile, at = Profile(range(3, 5), tmp_path), []
    for step in range(8):
        profile.before(step)
        at.append(len(calls))
        profile.after(step + 1, {})
    assert calls == [("start", tmp_path), ("stop",)]
    # Begun before step 3, ended after step 4.
    assert at == [0, 0, 0, 1, 1, 2, 2, 2]


def test_a_trace_is_closed_with_the_run(tmp_path):
    profile = Profile(range(5), tmp_path)
    profile.before(0)
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))
    profile.close()
    profile.close()
    assert list(tmp_path.rglob("*.xplane.pb"))


def test_steps_that_a_run_does_not_come_to_are_said_not_to_be_traced(tmp_path):
    profile = Profile(range(10, 13), tmp_path)
    for first_step, num_steps in ((0, 11), (12, 500)):
        assert profile.missed(first_step, num_steps) == []
    for first_step, num_steps in ((0, 10), (13, 500), (500, 500)):
        [said] = profile.missed(first_step, num_steps)
        assert f"steps 10:13 are not among those ahead, {first_step}:{num_steps}" in said
    assert Profile(NO_STEPS, tmp_path).missed(0, 10) == []
