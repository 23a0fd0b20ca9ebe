"""Where the time of a run goes, over all the processes that one after another worked on it."""

import datetime
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, get_args

import jax

from jaxbert.disk import write_whole
from jaxbert.errors import UserError
from jaxbert.parallel.processes import is_first
from jaxbert.training.goodput import FILE, Activity, read_sessions

# Tracing is left out: an inner function's is part of the outer one's, and would count twice.
_COMPILED = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
T = TypeVar("T")


class Ledger:
    """Gives every second to one activity, and keeps the sums in goodput.json.

    They count from `began` (`time.perf_counter()`; None: now), when the work on the run began:
    data and model are read before there is a directory to write to. A context manager, of the first
    process of several. A session is what one process did from there to its end, however it ended;
    the file is rewritten at every `note`.
    """

    def __init__(self, directory: Path, began: float | None = None):
        self.seconds: dict[str, float] = dict.fromkeys(get_args(Activity), 0.0)
        self._path = directory / FILE
        self._earlier = _earlier_sessions(directory) if is_first() else []
        self._activity: Activity = "start"
        self._since = time.perf_counter() if began is None else began
        ago = datetime.timedelta(seconds=time.perf_counter() - self._since)
        started = datetime.datetime.now(datetime.UTC) - ago
        self._session: dict[str, Any] = {"started": started.isoformat(timespec="seconds")}

    def __enter__(self) -> "Ledger":
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        jax.monitoring.unregister_event_duration_listener(self._compiled)
        self._write()

    @contextmanager
    def spent(self, activity: Activity) -> Iterator[None]:
        """What is done inside is `activity`; what comes after is again what was before."""
        before = self._switch(activity)
        try:
            yield
        finally:
            self._switch(before)

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches; the time until each is there goes to `data`."""
        iterator = iter(batches)
        while True:
            with self.spent("data"):
                found = next(iterator, None)
            if found is None:
                return
            yield found

    def begin(self, step: int) -> None:
        """Training begins after `step` steps."""
        self._session["first_step"] = self._session["last_step"] = step
        self._switch("train")

    def note(self, step: int) -> None:
        """`step` steps are done: what is known until now goes to the file."""
        self._session["last_step"] = step
        self._write()

    def ended(self, outcome: str) -> None:
        """How training ended: a run that was over has not been down until somebody goes on."""
        self._session["outcome"] = outcome

    def _switch(self, activity: Activity) -> Activity:
        now = time.perf_counter()
        self.seconds[self._activity] += now - self._since
        before, self._activity, self._since = self._activity, activity, now
        return before

    def _compiled(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in _COMPILED:
            self.seconds[self._activity] -= duration_secs
            self.seconds["compile"] += duration_secs

    def _write(self) -> None:
        if not is_first():
            return
        self._switch(self._activity)
        rounded = {name: round(max(value, 0.0), 3) for name, value in self.seconds.items()}
        sessions = [*self._earlier, self._session | {"seconds": rounded}]
        write_whole(self._path, json.dumps({"sessions": sessions}, indent=1) + "\n")


def _earlier_sessions(directory: Path) -> list[dict[str, Any]]:
    """Those in the file, which is set aside where it is damaged: figures never stop a run."""
    path = directory / FILE
    try:
        return read_sessions(directory)
    except UserError:
        aside = path.with_name(f"{FILE}.damaged")
        os.replace(path, aside)
        print(f"jaxbert: {path} is damaged, and now {aside.name}", file=sys.stderr, flush=True)
        return []
