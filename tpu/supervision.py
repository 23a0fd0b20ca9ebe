"""A command between the copies of its directories from and to a bucket."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maintenance import Notice

STATE = Path(os.environ.get("JAXBERT_TPU_STATE", Path.home() / "jaxbert-run"))
MIRROR_SECONDS = float(os.environ.get("JAXBERT_TPU_MIRROR", "300"))
PAUSES = (5.0, 20.0, 60.0)
PREEMPTED = 75
RSYNC = ("gcloud", "storage", "rsync", "--recursive")
UNFINISHED = ".*orbax-checkpoint-tmp.*"
COPIES = (
    (r"--exclude=(?!(.*/)?config\.yaml$).*",),
    (f"--exclude={UNFINISHED}|.*checkpoints/.*",),
    (f"--exclude={UNFINISHED}",),
    ("--delete-unmatched-destination-objects", f"--exclude={UNFINISHED}"),
)
"""What a bucket gets, one after another: each is nothing without what comes before it."""

Pair = tuple[str, Path]
"""What gs://BUCKET/PATH is like which directory."""


def supervise(command: list[str], fetch: list[Pair], mirror: list[Pair]) -> int:
    """Runs the command and returns its exit status; 1 where a copy failed and it did not."""
    forwarded = Forwarded()
    before = [download(*pair) for pair in fetch] + [download_first(*pair) for pair in mirror]
    if not all(before):
        return 1
    mirrored = Mirror(mirror)
    with mirrored, Notice(forwarded.announced):
        code = forwarded.run(command)
    # Whoever reads 0 may delete this machine, and with it what the bucket lacks.
    return code if mirrored.is_complete else code or 1


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
    """Keeps buckets like directories while it is entered, and once more at the end.

    The directories are filled: it deletes in a bucket what its directory lacks.
    """

    pairs: list[Pair]
    is_complete: bool = False
    """After the end: whether the buckets have everything."""

    def __enter__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._copy_until_ended)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _copy_until_ended(self) -> None:
        while not self._ended.wait(MIRROR_SECONDS):
            for pair in self.pairs:
                self._copy(*pair)
        left = [pair for pair in self.pairs if not self._copy(*pair)]
        for pause in PAUSES:
            if left:
                time.sleep(float(os.environ.get("JAXBERT_TPU_SLEEP", pause)))
                left = [pair for pair in left if not self._copy(*pair)]
        for url, directory in left:
            say(f"given up: {url} lacks what is new in {directory}, which is still here")
        self.is_complete = not left

    def _copy(self, url: str, directory: Path) -> bool:
        # An empty directory has no news, and would empty the bucket.
        if not has_files(directory):
            return True
        # gcloud copies and deletes in any order. Whenever this machine goes, the bucket is to have
        # a whole checkpoint, with the configuration, without which jaxbert takes the directory for
        # something else, and the rows of metrics.jsonl before it. The old checkpoints are deleted
        # when the new ones are there, and each time these are the same, whatever the command has
        # deleted and made meanwhile.
        try:
            with links_to(directory) as links:
                for flags in COPIES:
                    if subprocess.run([*RSYNC, *flags, str(links), url]).returncode:
                        say(f"could not copy {directory} to {url}; it is tried again")
                        return False
        except OSError as error:
            # A full disk, or a directory that is a mount point of its own.
            say(f"could not copy {directory} to {url} ({error}); it is tried again")
            return False
        return True


def download(url: str, directory: Path) -> bool:
    """Copies a directory of a bucket; whether that went well."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        say(f"{directory} cannot be made: {error.strerror}")
        return False
    return subprocess.run([*RSYNC, url, str(directory)]).returncode == 0


def download_first(url: str, directory: Path) -> bool:
    """Fills a directory that is empty, or that was filled by half; whether it has all there is.

    A mark tells the latter from what the command has written, which is newer than the bucket.
    """
    words = f"{url} {directory.resolve()}"
    mark = STATE / f"unfilled-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
    if has_files(directory) and not mark.exists():
        return True
    mark.touch()
    listed = subprocess.run(["gcloud", "storage", "ls", url], capture_output=True, text=True)
    if listed.returncode and "matched no objects" in listed.stderr:
        say(f"nothing at {url} yet")
    elif listed.returncode:
        say(listed.stderr.strip())
        return False
    elif not download(url, directory):
        return False
    mark.unlink()
    return True


@contextmanager
def links_to(directory: Path) -> Iterator[Path]:
    """A directory beside another one, with links to the files that this has now."""
    directory = directory.resolve()
    links = directory.with_name(f".{directory.name}.mirror")
    # What a killed process has left.
    shutil.rmtree(links, ignore_errors=True)
    try:
        for place, _, names in os.walk(directory):
            there = links / Path(place).relative_to(directory)
            there.mkdir(parents=True)
            for name in names:
                # A file that is deleted just now is of a checkpoint that is no longer kept.
                with suppress(FileNotFoundError):
                    os.link(Path(place) / name, there / name)
        yield links
    finally:
        shutil.rmtree(links, ignore_errors=True)


def has_files(directory: Path) -> bool:
    """Whether there is anything in a directory, and the directory."""
    return directory.is_dir() and any(directory.iterdir())


def say(text: str) -> None:
    """Prints a line of our own into the log."""
    print("===", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)
