"""A command between the copies of its directories from and to a bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from maintenance import Notice

MIRROR_SECONDS = float(os.environ.get("JAXBERT_TPU_MIRROR", "300"))
PREEMPTED = 75
RSYNC = ("gcloud", "storage", "rsync", "--recursive")
Pair = tuple[str, Path]
"""What gs://BUCKET/PATH is like which directory."""


def supervise(command: list[str], fetch: list[Pair], mirror: list[Pair]) -> int:
    """Runs the command and returns its exit status; 1 where a copy before it failed."""
    forwarded = Forwarded()
    before = [download(*pair) for pair in fetch] + [download_first(*pair) for pair in mirror]
    if not all(before):
        return 1
    with Mirror(mirror), Notice(forwarded.announced):
        return forwarded.run(command)


class Forwarded:
    """Hands SIGTERM on to the command, so that it saves; one before the start prevents it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def announced(self, what: str) -> None:
        """Asks the command to save, as SIGTERM does."""
        say(f"{what}: the command is asked to save")
        self._handle()

    def _handle(self, *_: object) -> None:
        self._asked = True
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def run(self, command: list[str]) -> int:
        """The exit status of the command; 128 + n where signal n ended it, as shells say."""
        if self._asked:
            return PREEMPTED
        try:
            self._process = subprocess.Popen(command)
        except OSError as error:
            say(f"{command[0]}: {error.strerror}")
            return 127
        if self._asked:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait()
        return code if code >= 0 else 128 - code


@dataclass
class Mirror:
    """Keeps buckets like directories while it is entered, and once more at the end."""

    pairs: list[Pair]

    def __enter__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy_until_ended)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _copy_until_ended(self) -> None:
        while not self._ended.wait(MIRROR_SECONDS):
            self._copy()
        self._copy()

    def _copy(self) -> None:
        for url, directory in self.pairs:
            # An empty directory has no news, and would empty the bucket.
            if directory.is_dir() and any(directory.iterdir()):
                exclude = "--exclude=.*orbax-checkpoint-tmp.*"
                flags = ["--delete-unmatched-destination-objects", exclude]
                if subprocess.run([*RSYNC, *flags, str(directory), url]).returncode:
                    say(f"could not copy {directory} to {url}; it is tried again")


def download(url: str, directory: Path) -> bool:
    """Copies a directory of a bucket; whether that went well."""
    directory.mkdir(parents=True, exist_ok=True)
    return subprocess.run([*RSYNC, url, str(directory)]).returncode == 0


def download_first(url: str, directory: Path) -> bool:
    """Fills an empty directory; an error where the bucket cannot be asked what it has."""
    if directory.is_dir() and any(directory.iterdir()):
        return True
    listed = subprocess.run(["gcloud", "storage", "ls", url], capture_output=True, text=True)
    if listed.returncode and "matched no objects" in listed.stderr:
        say(f"nothing at {url} yet")
        return True
    if listed.returncode:
        say(listed.stderr.strip())
        return False
    return download(url, directory)


def say(text: str) -> None:
    """Prints a line of our own into the log."""
    print("===", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)
