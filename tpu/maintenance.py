"""Word from Google that this machine is about to be maintained, for which a command has to end."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError

URL = os.environ.get(
    "JAXBERT_TPU_METADATA", "http://metadata.google.internal/computeMetadata/v1/instance/"
)
SECONDS = float(os.environ.get("JAXBERT_TPU_NOTICE", "5"))

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Notice:
    """Calls `announced` with every new announcement while it is entered."""

    announced: Callable[[str], None]

    def __enter__(self) -> None:
        self._ended = threading.Event()
        threading.Thread(target=self._ask_until_ended, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _ask_until_ended(self) -> None:
        # A command that is started again in the same maintenance is not ended again. And Google
        # announces nothing to those who have never asked.
        before = announcement()
        while not self._ended.wait(SECONDS):
            now = announcement()
            # Of an answer that broke off nothing follows, least of all that a maintenance is over.
            if now is None:
                continue
            if now and now != before:
                self.announced(now)
            before = now


def announcement() -> str | None:
    """What begins within a minute or has begun; "" for nothing.

    None: no answer, or part of one, as always outside of Google Cloud.
    """
    event = asked("maintenance-event")
    if event not in ("", "NONE", None):
        return event
    upcoming = asked("upcoming-maintenance?alt=json")
    if event is None or upcoming is None:
        return None
    try:
        status = json.loads(upcoming).get("maintenanceStatus", "") if upcoming[:1] == "{" else ""
    except ValueError:
        return None
    return "MAINTENANCE_ONGOING" if status == "ONGOING" else ""


def asked(key: str) -> str | None:
    """What the metadata server answers; "" where it refuses, None where it does not to the end."""
    request = urllib.request.Request(URL + key, headers={"Metadata-Flavor": "Google"})
    try:
        with _OPENER.open(request, timeout=5) as answer:
            return answer.read().decode(errors="replace").strip()
    except HTTPError:
        return ""
    except (OSError, HTTPException):
        return None
