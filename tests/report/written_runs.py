"""Run directories as training leaves them, written by hand."""

import json
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from jaxbert.experiment.report import write_report
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.tasks.tables import Table
from jaxbert.training.metrics_file import to_json
from jaxbert.yaml_values import dumped

CHOSEN = {"seed": 0, "optimizer": {"learning_rate": 0.001}, "num_steps": 40}
CONFIG = {"kind": "pretrain", "seed": 0, "num_steps": 40, "batch_size": 8} | {
    "optimizer": {"kind": "adamw", "learning_rate": 0.001, "b1": 0.9},
    "checkpoint": {"metric": None, "mode": "auto"},
}
SECONDS = {"train": 60.0, "data": 5.0, "compile": 20.0, "save": 1.0}


def rows_of(losses: Mapping[int, float], evaluations: Mapping[int, float]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step, loss in losses.items():
        rows.append({"step": step, "loss": loss, "grad_norm": 1.5, "learning_rate": 1 / step})
        if step in evaluations:
            rows.append({"step": step, "eval/loss": evaluations[step], "eval/f1/a": 0.5})
    return rows


ROWS = rows_of({step: 4 - step / 20 for step in range(1, 41)}, {20: 3.0, 30: 2.0, 40: 2.5})


def write_run(
    path: Path,
    *,
    rows: Iterable[Mapping[str, Any]] = ROWS,
    chosen: Mapping[str, Any] | None = CHOSEN,
    outcome: str | None = "finished",
    data: str = "a1b2",
    results: Mapping[str, float] | None = None,
    tables: Mapping[str, list[Table]] | None = None,
    notes: Iterable[str] = (),
    **options: Any,
) -> Path:
    run = RunDirectory(path)
    path.mkdir(parents=True)
    run.config.write_text(dumped(CONFIG | options))
    if chosen is not None:
        run.chosen.write_text(dumped({**chosen, **options}))
    run.metrics.write_text("".join(to_json(row) + "\n" for row in rows))
    run.data.write_text(json.dumps({"the training data": data}))
    session: dict[str, Any] = {"started": "2026-01-01T00:00:00+00:00", "seconds": SECONDS}
    ended = {} if outcome is None else {"outcome": outcome}
    (path / "goodput.json").write_text(json.dumps({"sessions": [session | ended]}))
    if results is not None:
        run.results.write_text(to_json(results))
    if tables is not None:
        write_report(run, results or {}, [*notes], tables)
    return path


class Page(HTMLParser):
    """Reads a page, and fails where its elements are not closed in their order."""

    VOID = ("meta",)

    def __init__(self, text: str):
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], []):
            self.texts.append(data)

    def says(self, text: str) -> bool:
        return any(text in found for found in self.texts)
