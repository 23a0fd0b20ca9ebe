"""How an attempt to run a command ended."""

from __future__ import annotations

from dataclasses import dataclass

EXIT_PREEMPTED = 75
"""jaxbert's status after a save on a signal: the same command continues."""

EXIT_MISTAKE = 2
"""jaxbert's status for what the user has to put right: trying again is no use."""

EXIT_DELETED = 5
"""run.py's status where somebody else has deleted the TPU: it is not asked for again."""

EXIT_OUT_OF_REACH = 6
"""run.py's status where gcloud fails for so long that nobody knows what became of the TPU."""


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt: done, preempted, deleted or failed, and why."""

    kind: str
    reason: str
    code: int = 1
    is_final: bool = False
    is_ours: bool = False
    """Whether a call of ours failed, as it does without a network, and not the command."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def judge(statuses: dict[str, str]) -> Outcome | None:
    """The outcome that the words of the workers amount to; None while there is none.

    One worker that saved on a signal explains the errors of those that lost it.
    """
    codes = {
        host: int(status.split()[1])
        for host, status in statuses.items()
        if status.startswith("exited ")
    }
    failed = {host: code for host, code in codes.items() if code}
    if EXIT_PREEMPTED in codes.values():
        return Outcome("preempted", "the command saved and ended with 75", EXIT_PREEMPTED)
    if any(status in ("lost", "absent") for status in statuses.values()):
        return Outcome("preempted", "a worker was restarted")
    if failed:
        host, code = next(iter(failed.items()))
        return Outcome("failed", f"{host} ended with {code}", code, EXIT_MISTAKE in failed.values())
    if statuses and len(codes) == len(statuses):
        return Outcome("done", "every worker ended with 0", 0)
    return None
