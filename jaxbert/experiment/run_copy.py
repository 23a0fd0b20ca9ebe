"""A run in a bucket: a command trains in a copy on its machine, which is sent back as it grows."""

import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from jaxbert.errors import UnreachableError, UserError
from jaxbert.experiment.lock import sole_trainer
from jaxbert.manifest import MANIFEST
from jaxbert.text.remote import cache_directory, check_stays_inside, reached

Mark = tuple[int, int]
"""Size and time of change of a file that is here."""

_SECONDS = 10.0
_PAUSES = (5.0, 20.0, 60.0)
_AT_A_TIME = 8
_LAST = 3
_TRIAL = ".trial"
_IN_CHECKPOINT = re.compile(r"((?:.*/)?checkpoints)/(\d+)/")
_UNFINISHED = re.compile(r"(^|/)\.|\.(tmp|partial)$|(^|/)checkpoints/(?!\d+/)")


def is_url(run: str) -> bool:
    """Whether a run lies in a bucket, or wherever else fsspec writes."""
    return "://" in run


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """The directory on this machine that stands for the run at a URL.

    It begins as what the bucket has, whatever was here before. What is new goes to the bucket every
    10 seconds and at the end. A checkpoint is sent after the rows of metrics.jsonl before it, and
    counts there with its manifest, which is sent last and deleted first: so whenever this process
    ends, the bucket has the last checkpoint that was sent whole.
    """
    url = url.rstrip("/")
    place = cache_directory() / "runs" / hashlib.sha256(url.encode()).hexdigest()[:24]
    place.mkdir(parents=True, exist_ok=True)
    with sole_trainer(place, url):
        directory = place / url.rpartition("/")[2]
        shutil.rmtree(directory, ignore_errors=True)
        copy = RunCopy(url, directory)
        copy.fetch()
        copy.check_writable()
        ended = Event()
        thread = Thread(target=copy.send_until, args=[ended], daemon=True)
        thread.start()
        try:
            yield directory
        finally:
            ended.set()
            thread.join()
            copy.send_last()


class RunCopy:
    """A directory here and one at a URL, which is made like it."""

    def __init__(self, url: str, directory: Path):
        self._url, self._directory = url, directory
        self._there: dict[str, Mark | None] = {}
        """What the bucket has; None: of no use."""

    def fetch(self) -> None:
        """Makes the directory, with all but checkpoints that were not sent whole."""
        with reached(self._url) as (system, root):
            paths = {path[len(root) :].strip("/"): path for path in system.find(root)}
            paths.pop(_TRIAL, None)
            # What a console makes of a folder is an object of the folder's own name.
            paths.pop("", None)
            check_stays_inside(paths, self._url)
            cut_off = {name for name in paths if not _is_whole(name, paths)}

            def fetch(name: str) -> None:
                (self._directory / name).parent.mkdir(parents=True, exist_ok=True)
                system.get_file(paths[name], str(self._directory / name))

            _at_once(fetch, paths.keys() - cut_off)
        self._there = dict.fromkeys(cut_off) | self._found()

    def check_writable(self) -> None:
        """Raises UserError where the bucket takes nothing: days later it would be too late."""
        with reached(self._url, "written") as (system, root):
            system.pipe_file(f"{root}/{_TRIAL}", b"")
            with suppress(FileNotFoundError):
                system.rm_file(f"{root}/{_TRIAL}")

    def send(self) -> None:
        """Brings the bucket up to date."""
        found = self._found()
        with reached(self._url, "written") as (system, root):
            new = [name for name, mark in found.items() if self._there.get(name) != mark]
            lost: set[str] = set()

            def send(name: str) -> None:
                is_last_of_lost = _turn(name) == _LAST and _checkpoint_of(name) in lost
                if is_last_of_lost or not self._send(system, root, name, found[name]):
                    lost.add(_checkpoint_of(name))

            for turn in range(_LAST + 1):
                _at_once(send, [name for name in new if _turn(name) == turn])
            for name in sorted(self._superfluous(found), key=_turn, reverse=True):
                with suppress(FileNotFoundError):
                    system.rm_file(f"{root}/{name}")
                del self._there[name]

    def send_until(self, ended: Event) -> None:
        """Sends now and then; what does not work is said once and tried again."""
        said = ""
        while not ended.wait(_SECONDS):
            reason = self._send_if_possible()
            if reason and reason != said:
                print(f"jaxbert: {reason}; it is tried again", file=sys.stderr, flush=True)
            said = reason

    def send_last(self) -> None:
        """Sends, with patience; UnreachableError where the bucket cannot be written."""
        for pause in _PAUSES:
            if not self._send_if_possible():
                return
            time.sleep(pause)
        if reason := self._send_if_possible():
            raise UnreachableError(
                f"{reason}; what the bucket lacks is in {self._directory}, which the same command "
                "replaces: copy it there first"
            )

    def _send_if_possible(self) -> str:
        """Sends; why that was not possible, or ""."""
        try:
            self.send()
        # Whatever a file system raises: nothing would be sent from then on, and nobody would know.
        except Exception as error:
            is_told = isinstance(error, UserError)
            return str(error) if is_told else f"{self._url} cannot be written: {error!r}"
        return ""

    def _found(self) -> dict[str, Mark]:
        """The finished files that are here."""
        marks = {}
        for folder, _, files in os.walk(self._directory):
            for path in (Path(folder, file) for file in files):
                name = path.relative_to(self._directory).as_posix()
                if not _UNFINISHED.search(name):
                    # The run goes on meanwhile, and deletes checkpoints.
                    with suppress(FileNotFoundError):
                        stat = path.stat()
                        marks[name] = (stat.st_size, stat.st_mtime_ns)
        return marks

    def _superfluous(self, found: dict[str, Mark]) -> list[str]:
        """What the bucket has and this directory has not; of checkpoints, what newer ones replace.

        Whoever looks while the run replaces its last one may find neither this nor the new one.
        """
        newest: dict[str, int] = {}
        for name, mark in found.items():
            place = _IN_CHECKPOINT.match(name)
            if place and _turn(name) == _LAST and self._there.get(name) == mark:
                newest[place[1]] = max(int(place[2]), newest.get(place[1], 0))

        def is_replaced(name: str) -> bool:
            place = _IN_CHECKPOINT.match(name)
            if place is None or self._there[name] is None:
                return True
            return int(place[2]) < newest.get(place[1], 0)

        return [name for name in self._there.keys() - found.keys() if is_replaced(name)]

    def _send(self, system: Any, root: str, name: str, mark: Mark) -> bool:
        """False where the file is no longer here."""
        path = self._directory / name
        try:
            system.put_file(str(path), f"{root}/{name}")
        except FileNotFoundError:
            if path.exists():
                raise
            return False
        self._there[name] = mark
        return True


def _is_whole(name: str, names: Iterable[str]) -> bool:
    """Whether a file is not of a checkpoint that lacks its manifest."""
    checkpoint = _checkpoint_of(name)
    return not checkpoint or f"{checkpoint}{MANIFEST}" in names


def _checkpoint_of(name: str) -> str:
    """The folder of the checkpoint that a file belongs to; of other files ""."""
    found = _IN_CHECKPOINT.match(name)
    return found[0] if found else ""


def _turn(name: str) -> int:
    """When a file is sent: what makes a directory a run first, what makes a checkpoint one last."""
    checkpoint = _checkpoint_of(name)
    if not checkpoint:
        return 0 if Path(name).name == "config.yaml" else 1
    return _LAST if name == f"{checkpoint}{MANIFEST}" else 2


def _at_once(act: Any, names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for _ in pool.map(act, names):
            pass
