"""Evaluation and prediction with a finished model, from nothing but its directory or run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import parse_config
from jaxbert.data.buckets import BucketedRows
from jaxbert.data.reading import Reading
from jaxbert.data.stream import EvaluationRows, evaluation_batches
from jaxbert.data.tables import check_split
from jaxbert.errors import UserError
from jaxbert.experiment.alike import check_same_data, check_same_model
from jaxbert.experiment.finetune_config import TASKS, TaskSection, kind_of
from jaxbert.experiment.finetuning_data import encoded, fingerprint_of
from jaxbert.experiment.prompts import late_settings, prompts_of
from jaxbert.experiment.run_files import read_data, read_run_config
from jaxbert.hub.description import describe
from jaxbert.hub.load import Pretrained, load_params
from jaxbert.hub.save import check_tokenizer
from jaxbert.hub.sentence_modules import load_tokenizer_of
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.hub.source import check_is_name, find_model
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import make_apply
from jaxbert.nn.head import Head
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rows import RowPlacement
from jaxbert.parallel.rules import put_whole, row_shards, shardings
from jaxbert.tasks.finetuning import TaskConfig
from jaxbert.tasks.sentence_embedding import pooled
from jaxbert.tasks.task import Task
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.training.evaluation import Metrics, evaluate
from jaxbert.training.step import jit_evaluation_step, make_evaluation_step
from jaxbert.typing import Params


@dataclass(frozen=True)
class Ready:
    """A model with its parameters on the devices."""

    loaded: Pretrained
    tokenizer: Tokenizer
    params: Params
    mesh: jax.sharding.Mesh
    dtype: Any
    batch_size: int
    """Rows per batch: what was asked for, rounded up to a multiple of the devices."""
    run_config: Mapping[str, Any]
    """Configuration of the run that made the model; {} where it is not known."""
    data: Mapping[str, str]
    """Fingerprints of what that run was trained and evaluated on, by what messages call it."""

    @property
    def rows_at_once(self) -> int:
        """Rows that are sorted by length together, and described when all of them are done."""
        return 64 * self.batch_size


def ready(
    model: str | Path,
    *,
    batch_size: int = 32,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
) -> Ready:
    """Opens a model directory, run directory or hub id for inference.

    `devices` split the rows of a batch; None: those of this process.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: must be at least 1")
    check_is_name(model)
    source = find_model(model)
    # A model directory may have a config.yaml of somebody else's in it.
    run = source.directory.parent if source.directory.parent == Path(expanduser(model)) else None
    described = describe(source).head
    # A head that is given may be drawn anew, which is not for one that the file should hold.
    head = pooled(described) if described == Head() else None
    is_directory = source.checkpoint is None and source.adapter is None
    loaded = load_params(source.directory if is_directory else model, head=head)
    tokenizer = load_tokenizer_of(loaded.directory, loaded.head)
    check_tokenizer(tokenizer, loaded.config)
    mesh = make_mesh(MeshConfig(), jax.local_devices() if devices is None else devices)
    shards = row_shards(mesh)
    return Ready(
        loaded=loaded,
        tokenizer=tokenizer,
        params=jax.tree.map(put_whole, loaded.params, shardings(loaded.params, mesh)),
        mesh=mesh,
        dtype=np.dtype(dtype),
        batch_size=-(-batch_size // shards) * shards,
        run_config=(run and read_run_config(run)) or {},
        data=read_data(run) if run else {},
    )


def section_of(
    model: Ready, columns: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> TaskSection:
    """The model's task: as in its run, else the defaults, with other `columns`.

    `overrides` are those of a configuration, such as task.null_threshold=2.5.
    """
    for word in overrides:
        if not word.startswith("task."):
            raise UserError(f"{word}: expected task.KEY=VALUE; the rest is said by flags (--help)")
    kind = kind_of(model.loaded.head)
    if kind not in TASKS:
        raise UserError(
            f"{model.loaded.directory}: its head is {kind!r}; expected one of {', '.join(TASKS)}"
        )
    settings = dict(model.run_config.get("task", {}))
    if settings.get("kind") != TASKS[kind].kind:
        settings = {"kind": TASKS[kind].kind}
        if model.loaded.head.problem_type == "multi_label_classification":
            settings["multi_label"] = True
        if model.loaded.head.thresholds is not None:
            # The model's own hold until others are asked for.
            settings["threshold"] = "tuned"
        if model.loaded.head.is_embedding:
            settings["prompts"] = prompts_of(model.loaded.described)
        if kind == "late_interaction":
            settings |= late_settings(model.loaded.described)
    trained = parse_config(TASKS[kind], settings, origin="task")
    if columns:
        settings["columns"] = settings.get("columns", {}) | dict(columns)
    # In a section of its own, so that messages call keys as they were given.
    whole: type[Any] = make_dataclass("Options", [("task", TASKS[kind])], frozen=True)
    section: TaskSection = parse_config(
        whole, {"task": settings}, overrides, origin="command line"
    ).task
    _check_takes_effect(section, trained)
    is_asked = any(word.partition("=")[0] == "task.threshold" for word in overrides)
    is_tuned = getattr(section, "threshold", None) == "tuned"
    if is_asked and is_tuned and model.loaded.head.thresholds is None:
        raise UserError(
            f"task.threshold=tuned: {model.loaded.directory} has no tuned thresholds: give a "
            "number, or fine-tune a model with that option"
        )
    return section


def _check_takes_effect(section: TaskSection, trained: TaskSection) -> None:
    """UserError for an option that says how to train, where it is not what the model has."""
    for name in section.of_training:
        if getattr(section, name) != getattr(trained, name):
            used = {one.name for one in fields(section)} - {"kind", *section.of_training}
            raise UserError(
                f"task.{name}: says how a model is trained, and this one has been: drop it; what "
                f"can be changed now: {', '.join(f'task.{one}' for one in sorted(used))}"
            )


def reading_of(model: Ready, max_seq_length: int | None = None, **asked: Any) -> Reading:
    """What to read of a text: as asked (where not None), else as in the model's run.

    `asked`: truncation, head_share, and windows' stride and combine. Of a model whose run is not
    known all that it can take is read; for embeddings, as sentence-transformers does, what its
    tokenizer allows, or what its files say of documents.
    """
    limit = longest_input(model.loaded.config)
    is_late = model.loaded.head.kind == "late_interaction"
    stated = read_prompts(model.loaded.described).get("document_length") if is_late else None
    if model.loaded.head.is_embedding:
        stated = stated or model.tokenizer.model_max_length
    usual = min(limit, stated or limit)
    max_seq_length = max_seq_length or model.run_config.get("max_seq_length") or usual
    if max_seq_length > limit:
        raise UserError(f"max_seq_length={max_seq_length} exceeds the model's {limit} tokens")
    names = ("truncation", "head_share", "windows")
    settings = {name: model.run_config[name] for name in names if name in model.run_config}
    given = {name: value for name, value in asked.items() if value is not None}
    windows = {name: given.pop(name) for name in ("stride", "combine") if name in given}
    if windows:
        settings["windows"] = (settings.get("windows") or {}) | windows
        settings.pop("truncation", None)
    elif "truncation" in given:
        settings.pop("windows", None)
    settings |= given | {"max_seq_length": max_seq_length}
    reading = parse_config(Reading, settings, origin="options")
    if "head_share" in given and reading.truncation != "head_tail":
        raise UserError(
            f"head_share={given['head_share']}: of truncation=head_tail, and here it is "
            f"{'none' if reading.windows else reading.truncation}: ask for that too, or drop it"
        )
    return reading


def evaluate_labelled(
    model: Ready, data: str, section: TaskConfig, reading: Reading
) -> dict[str, float]:
    """Metrics over labelled data; every record counts once."""
    check_split(data)
    task = section.task_of(model.loaded.head)
    records = tuple(section.read(data, labelled=True))
    examples = task.examples(records, model.tokenizer, reading, labelled=True)
    if jax.process_count() > 1:
        check_same_data(data, fingerprint_of(examples.features))
    table = encoded(examples.features, task, model.tokenizer)
    rows = BucketedRows(table, batch_size=model.batch_size, longest=reading.max_seq_length)
    return evaluate_rows(model, task, rows, examples.metrics) | {"rows": len(records)}


def evaluate_rows(
    model: Ready, task: Task, rows: EvaluationRows, metrics: Metrics
) -> dict[str, float]:
    """Metrics of a task over all rows, of which a process makes those that its devices hold."""
    check_same_model(model.loaded.params, model.loaded.directory)
    numbers = RowPlacement(model.mesh).numbers(model.batch_size)
    batches = evaluation_batches(rows, model.batch_size, numbers)
    apply = make_apply(model.loaded.config, model.loaded.head, model.dtype)
    step = jit_evaluation_step(make_evaluation_step(apply, task), model.params, model.mesh)
    return evaluate(step, model.params, batches, metrics, model.mesh, task.kept)
