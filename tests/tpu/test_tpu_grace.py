"""How long the others have when one worker has failed, by a clock that the test moves."""

import argparse
import sys
from dataclasses import dataclass, field

import pytest
from fake_cloud import TPU

sys.path.insert(0, str(TPU))
import attempts

HUNG = {"w-0": "exited 1", "w-1": "running"}
SAVED = {"w-0": "exited 1", "w-1": "exited 75"}


@dataclass
class Clock:
    """What attempts.py takes for the module time."""

    now: float = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def strftime(self, _):
        return "12:00:00"


@dataclass
class Machine:
    """Answers every look after `seconds` with the next statuses, at last the last."""

    clock: Clock
    looks: list[dict[str, str]]
    seconds: float
    stops: list[float] = field(default_factory=list)

    def statuses(self):
        self.clock.now += self.seconds
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def on_every_worker(self, command):
        assert command.endswith("stop")
        self.stops.append(self.clock.now)
        return 0, ""

    def state(self, **_):
        return "ACTIVE"


def watched(monkeypatch, looks, *, seconds):
    """What _watch returns, when the workers were asked to save, and the time at its end."""
    clock = Clock()
    monkeypatch.setattr(attempts, "time", clock)
    monkeypatch.delenv("JAXBERT_TPU_SLEEP", raising=False)
    machine = Machine(clock, looks, seconds)
    options = argparse.Namespace(poll=60, grace=300, patience=3600)
    run = attempts.Run(machine, "start", False, "0123abc", options, may_vanish=False)
    return run._watch(), machine.stops, clock.now


@pytest.mark.parametrize(("seconds", "looks"), [(0, 6), (120, 2), (540, 1)])
def test_grace_is_time_and_not_looks(monkeypatch, seconds, looks):
    outcome, stops, now = watched(monkeypatch, [HUNG] * (looks + 1) + [SAVED], seconds=seconds)
    assert outcome.kind == "preempted"
    between = 60 + seconds
    # The first look that found it, and then as many as the grace lasts.
    assert stops == [1000 + between * (looks + 1)]
    assert now == stops[0] + between


def test_who_was_not_asked_to_save_is_not_given_up(monkeypatch):
    # A look that took an hour, as where the network was away.
    outcome, stops, _ = watched(monkeypatch, [HUNG, HUNG, SAVED], seconds=3600)
    assert (outcome.kind, len(stops)) == ("preempted", 1)


def test_workers_that_do_not_end_are_left_after_as_long_again(monkeypatch):
    outcome, stops, now = watched(monkeypatch, [HUNG], seconds=0)
    assert outcome.reason == "w-0 ended with 1, and others do not end"
    assert now - stops[0] == 360
