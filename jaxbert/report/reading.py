"""Runs as they lie on disk or in a bucket, whatever state they are in."""

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.experiment.report import Section, read_report
from jaxbert.experiment.run_files import (
    RunDirectory,
    read_config_file,
    read_data,
    runs_in,
)
from jaxbert.metrics.ranking import Mode, better_mode
from jaxbert.report.curves import Curve, curves_of
from jaxbert.text.remote import fetch
from jaxbert.text.vocabulary import read_object
from jaxbert.training.goodput import FILE, goodput, read_sessions
from jaxbert.training.metrics_file import metric_rows

_FILES = (
    *("config.yaml", "chosen.yaml", "metrics.jsonl", "all_results.json", "data.json", FILE),
    "report.md",
)
_ENDED = ("finished", "stopped_early")


@dataclass(frozen=True)
class Run:
    """What is known of a run."""

    name: str
    """Short, and different from those of the runs beside it."""
    place: str
    """Where it lies."""
    config: dict[str, Any]
    chosen: dict[str, Any] | None
    """What in it is not the default; None: not noted."""
    curves: dict[str, Curve]
    results: dict[str, Any]
    """all_results.json, of a run that has ended."""
    sessions: list[dict[str, Any]]
    data: dict[str, str]
    sections: list[Section]
    """What report.md says of data and evaluation."""

    @property
    def kind(self) -> str:
        """pretrain, finetune, or what its configuration says."""
        return str(self.config.get("kind", "run"))

    @property
    def outcome(self) -> str | None:
        """How the last session ended; None: it goes on, was killed, or failed."""
        found = self.sessions[-1].get("outcome") if self.sessions else None
        return None if found is None else str(found)

    @property
    def has_ended(self) -> bool:
        """Whether the figures in all_results.json are its last ones."""
        return bool(self.results) and (not self.sessions or self.outcome in _ENDED)

    @property
    def step(self) -> int:
        """The last one that was logged."""
        return max((curve.last.step for curve in self.curves.values() if curve.last), default=0)

    @property
    def num_steps(self) -> int | None:
        """How many it is to take; None: as many as its epochs have."""
        number = self.config.get("num_steps")
        return number if isinstance(number, int) else None

    @property
    def noted(self) -> datetime.datetime | None:
        """When the last session last noted its times."""
        if not self.sessions:
            return None
        last = self.sessions[-1]
        seconds = datetime.timedelta(seconds=sum(last["seconds"].values()))
        return datetime.datetime.fromisoformat(last["started"]) + seconds

    @property
    def times(self) -> dict[str, float]:
        """Seconds by activity; {} where they were not noted."""
        return goodput(self.sessions) if self.sessions else {}

    @property
    def validation_sets(self) -> list[str]:
        """Those with a name, which goes before the metrics of each."""
        found = self.config.get("validation")
        return [*map(str, found)] if isinstance(found, dict) else []

    def mode(self, metric: str) -> Mode:
        """Whether more or less of a metric is better."""
        checkpoint = self.config.get("checkpoint")
        if isinstance(checkpoint, dict) and checkpoint.get("metric") == metric:
            chosen: Any = checkpoint.get("mode")
            return chosen if chosen in ("max", "min") else better_mode(metric)
        return better_mode(metric)


def read_runs(words: Sequence[str]) -> list[Run]:
    """The runs in directories and at URLs; of a directory of runs all that are in it.

    Raises UserError where there is none, and for files of a run that are damaged.
    """
    places = {path.resolve(): (name, path) for word in words for name, path in _places(word)}
    names = _short([name for name, _ in places.values()])
    return [_read(name, *place) for name, place in zip(names, places.values(), strict=True)]


def _places(word: str) -> Iterator[tuple[str, Path]]:
    """What messages call each run, and where it lies on this machine."""
    name, path = word.rstrip("/"), Path(word)
    if path.name in ("", ".."):
        name = str(path.resolve())
    if "://" in word:
        path = fetch(name, [*_FILES, *(f"*/{file}" for file in _FILES)])
    found = runs_in(path)
    if not found:
        what = "holds no run, which has a config.yaml" if path.is_dir() else "no such directory"
        raise UserError(f"{word}: {what}: give run directories, or one of runs")
    for run in found:
        below = run.relative_to(path).as_posix()
        yield name if below == "." else f"{name}/{below}", run


def _read(name: str, place: str, path: Path) -> Run:
    run = RunDirectory(path)
    return Run(
        name=name,
        place=place,
        config=read_config_file(run.config),
        chosen=read_config_file(run.chosen, may_be_empty=True) if run.chosen.is_file() else None,
        curves=curves_of(metric_rows(run.metrics), str(run.metrics)),
        results=read_object(run.results),
        sessions=read_sessions(path),
        data={what: str(value) for what, value in read_data(path).items()},
        sections=read_report(run.report),
    )


def _short(names: Sequence[str]) -> list[str]:
    """Without the directories that all of them are in."""
    parts = [re.split("/+", name) for name in names]
    common = 0
    while all(len(each) > common + 1 for each in parts) and len({p[common] for p in parts}) == 1:
        common += 1
    return ["/".join(each[common:]) for each in parts]
