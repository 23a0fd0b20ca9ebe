"""Attempts to run a command on a machine, until it is done or there is no use in it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from machine import ENDING, OVER, Machine
from outcome import (
    EXIT_DELETED,
    EXIT_MISTAKE,
    EXIT_OUT_OF_REACH,
    EXIT_PREEMPTED,
    Outcome,
    judge,
)

WORKER = "python3 jaxbert/tpu/worker.py"
LOG_OF_FAILED = f"{WORKER} log --if-failed --lines 30"
DELETED = "DELETED"
"""State of what was there and is ABSENT, and neither we nor Google have deleted it."""

REMINDER = 300.0
"""Seconds between two lines about gcloud that still fails."""


class OutOfReach(Exception):
    """gcloud failed for longer than there is patience: nobody knows the state of the machine."""


@dataclass
class Run:
    """A command on a machine, and how much patience there is with it."""

    machine: Machine
    start: str
    is_mirrored: bool
    revision: str
    options: argparse.Namespace
    may_vanish: bool
    """Whether a machine that is gone may have been taken back, and not deleted."""
    is_there: bool = False
    """Whether the machine, or the request for it, was there and we have not deleted it."""
    has_started: bool = False
    outages: int = 0
    """How often gcloud failed for a while."""

    def until_done(self) -> int:
        """Exit status 0 when the command is done; else why it is not, in print."""
        try:
            return self._until_done()
        except OutOfReach:
            name, deletion = self.machine.name, self.machine.command("delete.sh")
            say(f"given up: gcloud has failed for {self.options.patience} s")
            say(f"{name} is left as it is: it may still run, and cost money until: {deletion}")
            return EXIT_OUT_OF_REACH

    def _until_done(self) -> int:
        failures = restarts = 0
        while True:
            began, outages = time.monotonic(), self.outages
            outcome = self._attempt()
            say(str(outcome))
            if outcome.is_ours:
                self._state()
                if self.outages > outages:
                    say("that does not count: gcloud failed meanwhile")
                    self._sleep()
                    continue
            if outcome.kind == "done":
                return self._end(0)
            if outcome.kind == "deleted":
                say("it is not asked for again; the same call does, and goes on")
                return outcome.code
            if outcome.kind == "preempted":
                failures, restarts = 0, restarts + 1
            else:
                # Failures hours apart have little to do with each other.
                failures = 1 if time.monotonic() - began > 3600 else failures + 1
            if outcome.is_final or failures >= self.options.tries:
                return self._give_up(outcome)
            if restarts > self.options.restarts:
                say(f"taken back {restarts} times: that was the last of --restarts")
                return self._end(EXIT_PREEMPTED)
            self._sleep()

    def _attempt(self) -> Outcome:
        state = self._settled_state()
        if state == DELETED:
            return self._deleted()
        if state in OVER:
            say(f"{self.machine.name} is {state}: deleting what is left of it")
            # Also where gcloud fails: Google may have heard it.
            self.is_there = False
            if self.machine.delete():
                return Outcome("failed", "it could not be deleted", is_ours=True)
        if state in (*OVER, "ABSENT"):
            if self.machine.create():
                return Outcome("failed", "no TPU could be asked for", is_ours=True)
            self.is_there = True
        code = self._wait()
        state = self._state() if code == 3 else ""
        if state == DELETED:
            return self._deleted()
        if state not in ("", "FAILED"):
            return Outcome("preempted", "it was taken back before it was ready")
        if code:
            return Outcome("failed", "it did not become ready", code, is_final=code == 4)
        return self._start() or self._watch()

    def _wait(self) -> int:
        """As Machine.wait, and where gcloud fails it waits on."""
        until = time.monotonic() + self.options.timeout
        while (left := until - time.monotonic()) > 0:
            code = self.machine.wait(round(left))
            if code != 1:
                return code
            self._state()
            self._sleep()
        return 4

    def _loss(self) -> Outcome | None:
        """What has become of the machine where it is no longer there; None where it is."""
        state = self._state()
        if state in (*OVER, "ABSENT"):
            return Outcome("preempted", "the TPU was taken back")
        return self._deleted() if state == DELETED else None

    def _deleted(self) -> Outcome:
        return Outcome("deleted", f"somebody else has deleted {self.machine.name}", EXIT_DELETED)

    def _state(self) -> str:
        """As Machine.state, or DELETED; it waits where gcloud fails, and raises OutOfReach."""
        state = self._answered_state()
        if state == "ABSENT" and self.is_there and not self.may_vanish:
            # Asked twice: after this nobody looks any more at what may cost money.
            self._sleep()
            state = self._answered_state()
            if state == "ABSENT":
                return DELETED
        self.is_there = self.is_there or state not in (*OVER, "ABSENT")
        return state

    def _answered_state(self) -> str:
        state = self.machine.state()
        if state != "UNKNOWN":
            return state
        self.outages += 1
        began, is_quiet = time.monotonic(), False
        while state == "UNKNOWN":
            now = time.monotonic()
            if now - began > self.options.patience:
                raise OutOfReach
            if not is_quiet:
                say(f"gcloud fails: asked again for {self.options.patience - now + began:.0f} s")
                reminded = now
            self._sleep()
            is_quiet = time.monotonic() - reminded < REMINDER
            state = self.machine.state(is_quiet=is_quiet)
        say(f"gcloud answers again: {self.machine.name} is {state}")
        return state

    def _settled_state(self) -> str:
        until = time.monotonic() + self.options.timeout
        while (state := self._state()) in ENDING and time.monotonic() < until:
            self._sleep()
        return state

    def _start(self) -> Outcome | None:
        """Sets up and starts, unless the command runs already; None where all is well."""
        if any(status == "running" for status in self.machine.statuses().values()):
            say("the command is running already")
        elif self.machine.setup(self.revision):
            return self._lost_or(Outcome("failed", "it could not be set up", is_ours=True))
        # Also where the command is running: a worker that was restarted has lost its mounts.
        if self.options.mount and (code := self.machine.mount(self.options.mount)):
            if code == EXIT_MISTAKE:
                return Outcome("failed", "a bucket cannot be mounted", code, is_final=True)
            return self._lost_or(Outcome("failed", "a bucket could not be mounted", is_ours=True))
        code, output = self.machine.on_every_worker(self.start)
        print(output, end="")
        if code == EXIT_MISTAKE:
            return Outcome("failed", "it cannot be started", code, is_final=True)
        if code:
            return self._lost_or(Outcome("failed", "it could not be started", is_ours=True))
        if self.is_mirrored and output.count("jaxbert-worker") > 1:
            self._stop()
            reason = "--mirror serves one VM, here are several: --mount"
            return Outcome("failed", reason, EXIT_MISTAKE, is_final=True)
        self.has_started = True
        say(f"started; to look on: {self.machine.command('logs.sh', '--follow')}")
        return None

    def _watch(self) -> Outcome:
        silent = 0
        failed_since = asked_since = None
        for statuses in self._polls():
            outages, silent = self.outages, 0 if statuses else silent + 1
            if not statuses and (loss := self._loss()):
                return loss
            if self.outages > outages:
                # Neither could the workers be reached.
                silent = 0
            if silent >= 5:
                return Outcome("failed", "five times in a row no worker could be reached")
            outcome = judge(statuses)
            if outcome is None:
                continue
            if "running" not in statuses.values():
                return self._lost_or(outcome)
            # Without one worker the others wait for it: they are asked to save, then left. By the
            # clock: a look takes seconds itself, and minutes where gcloud hangs.
            now = time.monotonic()
            failed_since = failed_since or now
            if now - failed_since > self.options.grace:
                self._stop()
                asked_since = asked_since or now
                if now - asked_since > self.options.grace:
                    reason = f"{outcome.reason}, and others do not end"
                    return self._lost_or(Outcome("failed", reason))
        raise AssertionError("polling ends with a return")

    def _polls(self) -> Iterator[dict[str, str]]:
        before: dict[str, str] = {}
        while True:
            self._sleep()
            statuses = self.machine.statuses()
            if statuses != before:
                say(", ".join(f"{host} {status}" for host, status in statuses.items()) or "silence")
            before = statuses
            yield statuses

    def _lost_or(self, outcome: Outcome) -> Outcome:
        """The outcome, unless the VMs are gone, which explains everything else."""
        return (None if outcome.kind == "done" else self._loss()) or outcome

    def _stop(self) -> None:
        self.machine.on_every_worker(f"{WORKER} stop")

    def _give_up(self, outcome: Outcome) -> int:
        if self.has_started:
            _, output = self.machine.on_every_worker(LOG_OF_FAILED)
            print(output, end="")
            whole = self.machine.command("logs.sh", "--worker all", "--lines 10000")
            say(f"that was the end of the log; all of it: {whole}")
        say(f"given up: {outcome.reason}")
        return self._end(outcome.code or 1)

    def _end(self, code: int) -> int:
        if self.options.delete == "always" or (self.options.delete == "done" and code == 0):
            return self.machine.delete() or code
        deletion = self.machine.command("delete.sh")
        say(f"what there is of {self.machine.name} costs money until: {deletion}")
        return code

    def _sleep(self) -> None:
        time.sleep(float(os.environ.get("JAXBERT_TPU_SLEEP", self.options.poll)))


def say(text: str) -> None:
    """One line about what goes on, with the time."""
    print(time.strftime("%H:%M:%S"), text, flush=True)
