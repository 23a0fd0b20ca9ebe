"""Fine-tuning a head that transformers has no class for, and using what comes out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.small_runs import fine_tuning

from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.inference import evaluate_labelled, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import from_pretrained
from jaxbert.nn.head import LayerMixture

OVERRIDES = ("task.pooling=attention", "task.mixture={num_layers: 2, how: concatenated}")


@pytest.fixture(scope="module")
def run(pretrained: Path, tables: tuple[Path, Path], tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("pooled") / "run"
    finetune(config(pretrained, tables), directory, quiet=True)
    return directory


def config(model: Path, tables: tuple[Path, Path]) -> Finetune:
    """With two validation sets: all rows, and the first five."""
    train, dev = tables
    lines = dev.read_text().splitlines(keepends=True)
    some_of(dev).write_text("".join(lines[:6]))
    sets = f"validation={{all: {dev}, some: {some_of(dev)}}}"
    options = (sets, "checkpoint.metric=all_accuracy", "num_epochs=12")
    return fine_tuning(model, train, dev, *OVERRIDES, *options)


def some_of(dev: Path) -> Path:
    return dev.with_name("some.tsv")


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "all_results.json").read_text())


def test_the_head_is_the_one_that_was_asked_for(run: Path):
    assert (run / "model" / "params").is_dir()
    head = from_pretrained(run).head
    assert (head.pooling, head.mixture) == ("attention", LayerMixture(2, "concatenated"))


def test_it_learns(run: Path):
    assert results(run)["eval_all_accuracy"] > 0.9


def test_every_validation_set_has_its_own_metrics_and_part_of_the_report(
    run: Path, tables: tuple[Path, Path]
):
    model, data = ready(run), str(some_of(tables[1]))
    metrics = evaluate_labelled(model, data, section_of(model), Reading(32))
    assert metrics["rows"] == 5
    np.testing.assert_allclose(metrics["loss"], results(run)["eval_some_loss"], rtol=1e-5)
    report = (run / "report.md").read_text()
    assert report.index("## Evaluation: all") < report.index("## Evaluation: some")


def test_evaluation_and_prediction_agree_with_the_run(run: Path, tables: tuple[Path, Path]):
    model, data = ready(run), str(tables[1])
    section = section_of(model)
    metrics = evaluate_labelled(model, data, section, Reading(32))
    for name in ("loss", "accuracy", "f1"):
        np.testing.assert_allclose(metrics[name], results(run)[f"eval_all_{name}"], rtol=1e-5)
    labels = [line.split("\t")[1] for line in tables[1].read_text().splitlines()[1:]]
    records = section.read(data, labelled=False)
    found = [
        row["label"]
        for row in Predictor(model, section=section, reading=Reading(32)).records(records)
    ]
    accuracy = np.mean([a == b for a, b in zip(found, labels, strict=True)])
    assert accuracy == pytest.approx(metrics["accuracy"])


def test_the_same_command_again_writes_the_same_model(
    run: Path, pretrained: Path, tables: tuple[Path, Path]
):
    before = from_pretrained(run).classifier.dense.kernel[...]
    report = (run / "report.md").read_text()
    finetune(config(pretrained, tables), run, quiet=True)
    assert (run / "report.md").read_text() == report
    np.testing.assert_array_equal(from_pretrained(run).classifier.dense.kernel[...], before)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.pooling=men", "task.pooling"),
        ("task.mixture={layers: 2}", "unknown key 'task.mixture.layers'"),
        ("task.mixture={num_layers: 0}", "mixture.num_layers=0: must be at least 1"),
    ],
)
def test_a_head_that_does_not_exist_is_refused(
    pretrained: Path, tables: tuple[Path, Path], override: str, message: str
):
    with pytest.raises(UserError, match=message):
        fine_tuning(pretrained, *tables, override)


def test_more_layers_than_the_model_has_are_refused_before_training(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path
):
    config = fine_tuning(pretrained, *tables, "task.mixture={num_layers: 3}")
    with pytest.raises(UserError, match=r"num_layers=3: the model has 1 layers"):
        finetune(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
