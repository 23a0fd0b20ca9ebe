"""Several labels a text, from a table to thresholds in config.json and predictions."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.small_runs import ADJECTIVES, VERBS, fine_tuning, sentences
from sklearn.metrics import f1_score

from jaxbert.config import parse_config
from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment import finetune as module
from jaxbert.experiment.export import export_checkpoint
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.inference import evaluate_labelled, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.metrics_file import read_metrics


def labels(text: str) -> list[str]:
    words = text.lower().rstrip(".").split()
    found = {"age": words[1] in ADJECTIVES[:2], "sense": words[3] in VERBS[:2]}
    return [name for name, holds in found.items() if holds]


def write(path: Path, number: int, seed: int) -> Path:
    rows = (f"{text}\t{'+'.join(labels(text))}\n" for text in sentences(number, seed))
    path.write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("labels")
    return write(directory / "train.tsv", 80, 1), write(directory / "dev.tsv", 21, 2)


@pytest.fixture(scope="module")
def run(pretrained: Path, tables: tuple[Path, Path], tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("multi-label") / "run"
    overrides = (
        "task.multi_label=true",
        "task.threshold=tuned",
        "task.columns.label_separator=+",
        "checkpoint.metric=tuned_f1_macro",
        "loop.evaluate_every=epoch",
        "task.pooling=mean",
        "optimizer.learning_rate=1e-2",
        "num_epochs=9",
    )
    finetune(fine_tuning(pretrained, *tables, *overrides), directory, quiet=True)
    return directory


def test_it_learns_and_keeps_its_thresholds_in_the_model(run: Path):
    results = json.loads((run / "all_results.json").read_text())
    assert results["eval_tuned_f1_micro"] > 0.9
    fields = json.loads((run / "model" / "config.json").read_text())
    assert fields["problem_type"] == "multi_label_classification"
    head = from_pretrained(run).head
    assert head.labels == ("age", "sense")
    assert head.thresholds == tuple(fields["jaxbert_thresholds"])
    report = (run / "report.md").read_text()
    assert f"| eval_tuned_f1_micro | {results['eval_tuned_f1_micro']:.6g} |" in report
    for label, threshold in zip(head.labels, head.thresholds, strict=True):
        [line] = [line for line in report.splitlines() if line.startswith(f"| {label} |")]
        assert line.endswith(f"| {threshold:.6g} |")


def test_checkpoints_are_ranked_by_the_metrics_of_tuned_thresholds(run: Path):
    evaluated = [row for row in read_metrics(run / "metrics.jsonl") if "eval/loss" in row]
    scores = {row["step"]: row["eval/tuned_f1_macro"] for row in evaluated}
    results = json.loads((run / "all_results.json").read_text())
    assert results["eval_tuned_f1_macro"] == scores[results["step"]] == max(scores.values())
    assert all(row["eval/tuned_f1_macro"] >= row["eval/f1_macro"] for row in evaluated)


def test_a_metric_of_thresholds_that_are_not_kept_is_refused():
    task = {"multi_label": True, "threshold": "tuned"}
    values = {"model": "m", "train": "t.tsv", "validation": "v.tsv", "task": task}
    for metric in ("f1_micro", "f1_macro", "accuracy"):
        with pytest.raises(UserError, match=f"take tuned_{metric}, or average_precision"):
            parse_config(Finetune, values | {"checkpoint": {"metric": metric}})
        parse_config(Finetune, values | {"checkpoint": {"metric": f"tuned_{metric}"}})
    values |= {"validation": {"dev": "v.tsv"}, "checkpoint": {"metric": "dev_f1_macro"}}
    with pytest.raises(UserError, match="take dev_tuned_f1_macro, or dev_average_precision"):
        parse_config(Finetune, values)


def test_a_metric_of_rows_that_the_first_batch_has_not_may_rank_checkpoints(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path
):
    """The longest rows come first, and here none of them has a label."""
    dev = tmp_path / "dev.tsv"
    bare = "The red tree finds the cat. The red tree finds the cat.\t\n" * 8
    dev.write_text(tables[1].read_text() + bare)
    options = ("task.multi_label=true", "task.columns.label_separator=+")
    ranked = "checkpoint.metric=average_precision"
    config = fine_tuning(pretrained, tables[0], dev, *options, ranked, "num_steps=1")
    assert "eval_average_precision" in finetune(config, tmp_path / "run", quiet=True).results


def test_evaluation_and_prediction_use_them(run: Path, tables: tuple[Path, Path]):
    results = json.loads((run / "all_results.json").read_text())
    model, data = ready(run), str(tables[1])
    section = section_of(model)
    metrics = evaluate_labelled(model, data, section, Reading(32))
    assert metrics["loss"] == pytest.approx(results["eval_loss"], rel=1e-4)
    for name in ("f1_micro", "f1_macro", "accuracy"):
        assert metrics[name] == pytest.approx(results[f"eval_tuned_{name}"])
    records = list(section.read(data, labelled=False))
    found = [
        row["labels"]
        for row in Predictor(model, section=section, reading=Reading(32)).records(records)
    ]
    truth = [labels(record.values["sentence"]) for record in records]
    flags = [[[name in row for name in ("age", "sense")] for row in x] for x in (truth, found)]
    assert f1_score(*flags, average="macro") == pytest.approx(metrics["f1_macro"])


@pytest.mark.parametrize("part", ["", "model"])
def test_another_threshold_can_be_asked_for(run: Path, part: str):
    model = ready(run / part)
    tuned = model.loaded.head.thresholds
    assert section_of(model).task_of(model.loaded.head).target.thresholds == tuned
    for threshold in (0.3, 0.5):
        section = section_of(model, overrides=[f"task.threshold={threshold}"])
        assert section.task_of(model.loaded.head).target.thresholds == (threshold, threshold)


def test_tuned_thresholds_are_not_asked_of_a_model_without(run: Path):
    model = ready(run)
    assert section_of(model, overrides=["task.threshold=tuned"]).threshold == "tuned"
    loaded = replace(model.loaded, head=replace(model.loaded.head, thresholds=None))
    with pytest.raises(UserError, match=r"task\.threshold=tuned: .* has no tuned thresholds"):
        section_of(replace(model, loaded=loaded), overrides=["task.threshold=tuned"])


def first_bias(
    model: Path,
    tables: tuple[Path, Path],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *options: str,
) -> np.ndarray:
    """What the bias of the classifier is when training begins, with `task.prior_bias`."""
    found = []

    def fit(run: Any, settings: Any, trainee: Any, *given: Any, **options: Any) -> None:
        params = trainee.make_params(make_mesh(MeshConfig()))
        found.append(np.asarray(params["classifier"]["dense"]["bias"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit", fit)
    words = options or ("multi_label=true", "columns.label_separator=+", "pooling=mean")
    config = fine_tuning(model, *tables, *(f"task.{word}" for word in (*words, "prior_bias=true")))
    with pytest.raises(KeyboardInterrupt):
        finetune(config, directory / "begun", quiet=True)
    return found[0]


def test_a_new_classifier_may_begin_with_how_often_a_label_occurs(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bias = first_bias(pretrained, tables, tmp_path, monkeypatch)
    rows = [line.split("\t")[1].split("+") for line in tables[0].read_text().splitlines()[1:]]
    for value, name in zip(bias.tolist(), ("age", "sense"), strict=True):
        share = (sum(name in row for row in rows) + 0.5) / (len(rows) + 1)
        assert value == pytest.approx(math.log(share / (1 - share)), abs=1e-6)
        assert abs(value) > 0.01


def test_a_new_regression_may_begin_with_the_mean_of_the_labels(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    values = [980.5, 1001.25, 1003.0, 1040.0]
    rows = (f"{text}\t{value}\n" for text, value in zip(sentences(4, 1), values, strict=True))
    table = tmp_path / "numbers.tsv"
    table.write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    bias = first_bias(pretrained, (table, table), tmp_path, monkeypatch, "regression=true")
    np.testing.assert_allclose(bias, [sum(values) / 4], rtol=1e-7)


def test_a_classifier_that_has_learnt_keeps_its_bias(
    run: Path, tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    learnt = load_params(run / "model").params["classifier"]["dense"]["bias"]
    bias = first_bias(run / "model", tables, tmp_path, monkeypatch)
    np.testing.assert_array_equal(bias, learnt)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"multi_label": True, "threshold": "tuned"},
            "threshold=tuned needs validation data of one",
        ),
        ({"threshold": 0.3}, "is for several labels: set multi_label=true"),
        ({"prior_bias": True}, "prior_bias is for multi_label=true or regression=true"),
        ({"multi_label": True, "label_smoothing": 0.1}, "label_smoothing is for one class a row"),
        ({"columns": {"label": ["a", "b"]}}, "several columns are for multi_label=true"),
        ({"multi_label": True, "regression": True}, "a row has a number or labels; drop one"),
        ({"class_weights": "balance"}, "class_weights"),
    ],
)
def test_options_that_do_not_go_together_are_refused(task: dict, message: str):
    with pytest.raises(UserError, match=message):
        parse_config(Finetune, {"model": "m", "train": "t.tsv", "task": task})


def test_no_checkpoint_has_the_thresholds_that_the_end_of_a_run_chooses(run, tmp_path):
    with pytest.raises(UserError, match=r"task\.threshold=tuned chooses .*: let the run end"):
        export_checkpoint(run, tmp_path / "out", "latest")
