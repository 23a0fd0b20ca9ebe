"""The tasks of the GLUE benchmark (Wang et al. 2018): files, labels, official metrics, submissions.

Files are those of gluebenchmark.com as they are; names of submissions are what its server expects.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxbert.data.problems import Problems
from jaxbert.data.tables import DATA_SETS, Row, read_rows, whole_rows
from jaxbert.data.whole_lines import (
    HARMLESS,
    check_is_not_empty,
    check_is_utf8,
    warn_of_kept,
)
from jaxbert.errors import UserError
from jaxbert.tasks.sentences import SentenceColumns

log = logging.getLogger(__name__)

GlueName = Literal["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"]


@dataclass(frozen=True)
class GlueTask:
    """One task of the benchmark."""

    submission: str
    """Name of the file of predictions, without .tsv."""
    metrics: tuple[str, ...]
    """The official ones, as jaxbert calls them; the benchmark takes their mean."""
    text: str
    text_pair: str | None = None
    label: str = "label"
    labels: tuple[str, ...] | None = ("0", "1")
    """None: numbers from 0 to 5."""
    hub_columns: tuple[str, ...] = ("sentence1", "sentence2")
    """Of the texts in hf:glue and tfds:glue, whose label is `label`."""
    names: tuple[str, ...] | None = None
    """Columns of training and validation files, which have no header."""
    has_broken_rows: bool = False
    """Questions with line breaks, which every reader leaves out."""


_ENTAILED = ("entailment", "not_entailment")
GLUE: dict[GlueName, GlueTask] = {
    "cola": GlueTask(
        "CoLA",
        ("matthews_correlation",),
        "sentence",
        hub_columns=("sentence",),
        names=("source", "label", "mark", "sentence"),
    ),
    "sst2": GlueTask("SST-2", ("accuracy",), "sentence", hub_columns=("sentence",)),
    "mrpc": GlueTask("MRPC", ("f1", "accuracy"), "#1 String", "#2 String", "Quality"),
    "qqp": GlueTask(
        "QQP",
        ("f1", "accuracy"),
        "question1",
        "question2",
        "is_duplicate",
        hub_columns=("question1", "question2"),
        has_broken_rows=True,
    ),
    "stsb": GlueTask(
        "STS-B", ("pearson", "spearman"), "sentence1", "sentence2", "score", labels=None
    ),
    "mnli": GlueTask(
        "MNLI-m",
        ("accuracy",),
        "sentence1",
        "sentence2",
        "gold_label",
        labels=("entailment", "neutral", "contradiction"),
        hub_columns=("premise", "hypothesis"),
    ),
    "qnli": GlueTask(
        "QNLI",
        ("accuracy",),
        "question",
        "sentence",
        labels=_ENTAILED,
        hub_columns=("question", "sentence"),
    ),
    "rte": GlueTask("RTE", ("accuracy",), "sentence1", "sentence2", labels=_ENTAILED),
    "wnli": GlueTask("WNLI", ("accuracy",), "sentence1", "sentence2"),
}

_TEXT, _TEXT_PAIR, _LABEL = "text", "text_pair", "label"
GLUE_COLUMNS: dict[GlueName, SentenceColumns] = {
    name: SentenceColumns(_TEXT, None if task.text_pair is None else _TEXT_PAIR, _LABEL)
    for name, task in GLUE.items()
}
"""What `read_glue` calls the columns of every source."""


def read_glue(spec: str, name: GlueName, *, labelled: bool) -> Iterator[Row]:
    """Rows of a task's file or data set, with the columns of `GLUE_COLUMNS`.

    Without labels it is a test file, which for CoLA alone has a header. A malformed row is a
    UserError; those that QQP was published with are left out of what has labels, and counted in a
    warning.
    """
    task = GLUE[name]
    renamed = _columns(task, spec, labelled=labelled)
    names = task.names if labelled and not spec.startswith(DATA_SETS) else None
    # Predictions are numbered by their rows: without one, those after it would be of others.
    if task.has_broken_rows and labelled:
        rows = _but_broken_rows(spec, [*renamed])
    else:
        rows = whole_rows(spec, columns=[*renamed], names=names, labelled=labelled)
    for row in rows:
        values = {new: row.values[column] for column, new in renamed.items()}
        classes = {to: row.classes[name] for name, to in renamed.items() if name in row.classes}
        yield Row(values, row.file, row.line, classes)


def _but_broken_rows(spec: str, columns: list[str]) -> Iterator[Row]:
    """Labelled rows, with a warning of how many were left out; UserError where none is left."""
    problems, count = Problems(), 0
    for row in read_rows(spec, columns=columns, problems=problems):
        check_is_utf8(problems)
        count += 1
        yield row
    warn_of_kept(problems)
    for kind, problem in problems.first.items():
        if kind not in HARMLESS:
            log.warning(
                "%s: %d left out for %s, the first in line %d",
                *(problem.file, problems.counts[kind], kind, problem.line),
            )
    check_is_not_empty(count, "rows", spec, labelled=True)


def submission_file(name: GlueName, spec: str) -> str:
    """What the benchmark calls the predictions for a test file; MNLI's tell two or three apart."""
    if name == "mnli" and "mismatched" in Path(spec).name:
        return "MNLI-mm.tsv"
    if name == "mnli" and "diagnostic" in Path(spec).name:
        return "AX.tsv"
    return f"{GLUE[name].submission}.tsv"


def submission_lines(name: GlueName, predictions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of a submission: classes by name; similarities from 0 to 5, to three decimals.

    Raises UserError where the model that predicts was trained for something else.
    """
    labels = GLUE[name].labels
    yield "index\tprediction"
    for number, prediction in enumerate(predictions):
        if labels is None and "value" in prediction:
            yield f"{number}\t{min(max(prediction['value'], 0.0), 5.0):.3f}"
        elif labels is not None and prediction.get("label") in labels:
            yield f"{number}\t{prediction['label']}"
        else:
            wanted = "a number" if labels is None else f"one of {', '.join(labels)}"
            raise UserError(
                f"the model predicts {prediction.get('label', 'other things')!r}, a submission for "
                f"{name} needs {wanted}: use a model that was fine-tuned with task.glue={name}"
            )


def _columns(task: GlueTask, spec: str, *, labelled: bool) -> dict[str, str]:
    """The columns of a source, and what they are called here."""
    texts: tuple[str | None, ...] = (task.text, task.text_pair)
    label = task.label
    if spec.startswith(DATA_SETS):
        texts, label = task.hub_columns, "label"
    new = (_TEXT, _TEXT_PAIR)
    renamed = {name: to for name, to in zip(texts, new, strict=False) if name is not None}
    return renamed | ({label: _LABEL} if labelled else {})
