"""Attempts to run a command on a machine, until it is done or there is no use in it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from machine import ENDING, OVER, Machine
from outcome import EXIT_MISTAKE, EXIT_PREEMPTED, Outcome, judge

WORKER = "python3 jaxbert/tpu/worker.py"
LOG_OF_FAILED = f"{WORKER} log --if-failed --lines 30"


@dataclass
class Run:
    """A command on a machine, and how much patience there is with it."""

    machine: Machine
    start: str
    is_mirrored: bool
    revision: str
    options: argparse.Namespace
    has_started: bool = False

    def until_done(self) -> int:
        """Exit status 0 when the command is done; else why it is not, in print."""
        failures = restarts = 0
        while True:
            began = time.monotonic()
            outcome = self._attempt()
            say(str(outcome))
            if outcome.kind == "done":
                return self._end(0)
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
        if state in OVER:
            say(f"{self.machine.name} is {state}: deleting what is left of it")
            if self.machine.delete():
                return Outcome("failed", "it could not be deleted")
        if state in (*OVER, "ABSENT") and self.machine.create():
            return Outcome("failed", "no TPU could be asked for")
        code = self.machine.wait(self.options.timeout)
        if code == 3 and self.machine.state() != "FAILED":
            return Outcome("preempted", "it was taken back before it was ready")
        if code:
            return Outcome("failed", "it did not become ready", code, is_final=code == 4)
        return self._start() or self._watch()

    def _settled_state(self) -> str:
        until = time.monotonic() + self.options.timeout
        while (state := self.machine.state()) in ENDING and time.monotonic() < until:
            self._sleep()
        return state

    def _start(self) -> Outcome | None:
        """Sets up and starts, unless the command runs already; None where all is well."""
        if any(status == "running" for status in self.machine.statuses().values()):
            say("the command is running already")
        elif self.machine.setup(self.revision):
            return self._lost_or("failed", "it could not be set up")
        code, output = self.machine.on_every_worker(self.start)
        print(output, end="")
        if code == EXIT_MISTAKE:
            return Outcome("failed", "it cannot be started", code, is_final=True)
        if code:
            return self._lost_or("failed", "it could not be started")
        if self.is_mirrored and output.count("jaxbert-worker") > 1:
            self._stop()
            return Outcome(
                "failed", "--mirror serves one VM, here are several", EXIT_MISTAKE, is_final=True
            )
        self.has_started = True
        say(f"started; to look on: {self.machine.command('logs.sh', '--follow')}")
        return None

    def _watch(self) -> Outcome:
        silent = waited = 0
        for statuses in self._polls():
            silent = 0 if statuses else silent + 1
            if not statuses and self.machine.state() in OVER:
                return Outcome("preempted", "the TPU was taken back")
            if silent >= 5:
                return self._lost_or("failed", "five times in a row no worker could be reached")
            outcome = judge(statuses)
            if outcome is None:
                continue
            if "running" not in statuses.values():
                return self._lost_or(outcome.kind, outcome.reason, outcome.code, outcome.is_final)
            # Without one worker the others wait for it: they are asked to save, then left.
            waited += self.options.poll
            if waited > self.options.grace:
                self._stop()
            if waited > 2 * self.options.grace:
                return self._lost_or("failed", f"{outcome.reason}, and others do not end")
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

    def _lost_or(self, kind: str, reason: str, code: int = 1, is_final: bool = False) -> Outcome:
        """The reason, unless the VMs were taken back, which explains everything else."""
        if kind != "done" and self.machine.state() in OVER:
            return Outcome("preempted", "the TPU was taken back")
        return Outcome(kind, reason, code, is_final)

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
