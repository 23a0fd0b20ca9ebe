"""goodput.json: what the ledgers of a run's sessions have written down, added up."""

import datetime
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from jaxbert.errors import UserError

Activity = Literal["start", "restore", "compile", "data", "dispatch", "train", "evaluate", "save"]
"""start: from the configuration to the first batch; data: waiting for a batch; dispatch: handing
steps to an accelerator; train: the device at work on them, a CPU also while they are handed to it,
and whatever has no other name."""

FILE = "goodput.json"
MEANINGS = {
    "train": "the devices at work on steps that count",
    "dispatch": "handing steps to accelerators; a CPU works on them meanwhile: train",
    "data": "waiting for batches",
    "evaluate": "evaluation",
    "save": "checkpoints, as far as training waits for them",
    "compile": "lowering and compiling programs",
    "start": "from the configuration to the first batch",
    "restore": "reading checkpoints",
    "lost": "steps done again because a session was killed",
    "down": "between sessions, unless the run was over",
}
"""What `goodput` tells of, in words for people."""


def read_sessions(directory: Path) -> list[dict[str, Any]]:
    """The sessions in goodput.json, oldest first; [] where there is none.

    Raises UserError where it is damaged.
    """
    path = directory / FILE
    if not path.is_file():
        return []
    try:
        sessions: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["sessions"]
        if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
            raise TypeError("its sessions are no list of them")
        goodput(sessions)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged, expected the sessions of a run as JSON ({error}); delete it, and "
            "the next session is the first that counts"
        ) from None
    return sessions


def goodput(sessions: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by activity over all sessions, and what follows from them.

    `lost`: training after the last checkpoint of a session that was killed, at the session's mean
    time per step. `down`: between sessions, unless the run was over. `goodput`: the share of all
    this time in which the devices worked on steps that count.
    """
    total = dict.fromkeys((*get_args(Activity), "lost", "down"), 0.0)
    for session in sessions:
        for name, seconds in session["seconds"].items():
            total[name] += seconds
    for number, session in enumerate(sessions):
        total["lost"] += _lost(session, sessions[number + 1 :])
    for session, following in pairwise(sessions):
        if session.get("outcome", "preempted") == "preempted":
            ended = _started(session) + sum(session["seconds"].values())
            total["down"] += max(0.0, _started(following) - ended)
    total["train"] -= total["lost"]
    whole = sum(total.values())
    return total | {"whole": whole, "goodput": total["train"] / whole if whole else 0.0}


def _lost(session: dict[str, Any], later: Sequence[dict[str, Any]]) -> float:
    begun = [other["first_step"] for other in later if "first_step" in other]
    if "first_step" not in session or not begun:
        return 0.0
    # Not by the next one alone: it may have ended before it began to train, or have been over.
    done = session["last_step"] - session["first_step"]
    again = max(0, session["last_step"] - min(begun))
    return session["seconds"]["train"] * min(again, done) / done if done else 0.0


def _started(session: dict[str, Any]) -> float:
    return datetime.datetime.fromisoformat(session["started"]).timestamp()
