"""Late interaction from files to predictions, and in sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiment.small_runs import fine_tuning, pairs
from sentence_transformers import MultiVectorEncoder

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import evaluate_labelled, reading_of, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import load_params
from jaxbert.nn.head import DenseLayer, Head

TASK = (
    "task={kind: late_interaction, dimensions: 8, prompts: {query: 'old ', document: 'the '},"
    " query_length: 8, query_expansion: {length: 8}}"
)


SETTINGS = (
    TASK,
    "max_seq_length=24",
    "batch_size=16",
    "optimizer.learning_rate=1e-2",
    "loop.evaluate_every=null",
    "checkpoint.metric=mrr",
)


@pytest.fixture(scope="module", autouse=True)
def _quickly(pretrained: Path):
    """LLVM's passes are most of the time that these runs take; other tests' run is made before."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("pairs")
    return pairs(directory / "train.tsv", 80, 1), pairs(directory / "dev.tsv", 20, 2)


@pytest.fixture(scope="module")
def run(
    pretrained: Path, data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    directory = tmp_path_factory.mktemp("late") / "run"
    finetune(fine_tuning(pretrained, *data, *SETTINGS, "num_epochs=14"), directory, quiet=True)
    return directory


def test_a_run_learns_and_is_evaluated_alike(run: Path, data: tuple[Path, Path]):
    assert load_params(run).head == Head(
        "late_interaction", dense=DenseLayer(8, "identity", bias=False)
    )
    for directory in (run, run / "model"):
        model = ready(directory, batch_size=16)
        section, reading = section_of(model), reading_of(model)
        assert reading.max_seq_length == 24
        metrics = evaluate_labelled(model, str(data[1]), section, reading)
        for name in ("loss", "mrr", "ndcg_at_10", "recall_at_1"):
            np.testing.assert_allclose(metrics[name], results(run)[f"eval_{name}"], rtol=1e-5)
    assert metrics["mrr"] > 0.9


def test_predictions_are_the_vectors_of_sentence_transformers(run: Path, tmp_path: Path):
    theirs = MultiVectorEncoder(str(run / "model"), device="cpu")
    texts = ["old cat", "the tree likes the young bird, of course.", "fish"]
    file, out = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    file.write_text("\n".join(["anchor", *texts]) + "\n")
    for side, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        arguments = ["--data", str(file), "--out", str(out), f"task.side={side}"]
        assert main(["predict", str(run), *arguments]) == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        expected = encode(["anchor", *texts])
        assert len(rows) == 4
        for row, vectors in zip(rows, expected, strict=True):
            np.testing.assert_allclose(row["token_vectors"], np.asarray(vectors), atol=1e-5)
    with pytest.raises(UserError, match=r"vectors\(...\): the model's task is late_interaction"):
        Predictor(run).vectors(texts)


def results(run: Path) -> dict[str, Any]:
    return json.loads((run / "all_results.json").read_text())


def test_a_run_goes_on_from_a_model_of_late_interaction_on_a_mesh(
    run: Path, data: tuple[Path, Path], tmp_path: Path
):
    """Its projection has other dimensions than what begins anew, and keeps them."""
    task = TASK.replace("dimensions: 8, ", "")
    options = ("num_steps=1", "mesh.fsdp=2", "step.accumulation_steps=2")
    config = fine_tuning(run / "model", *data, *SETTINGS, task, *options)
    assert finetune(config, tmp_path / "run", quiet=True).outcome == "finished"
    assert "dimensions: 8" in (tmp_path / "run" / "config.yaml").read_text()
    assert load_params(tmp_path / "run").head == load_params(run).head
    assert results(tmp_path / "run")["eval_loss"] == pytest.approx(results(run)["eval_loss"], abs=1)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("packing=true", "packing=true: late interaction takes a row for every text"),
        ("distillation={teacher: t}", "distillation: what a teacher says of vectors of tokens"),
        ("regularisation.r_drop=1", "r_drop: a ranking is between"),
        ("cache_features=true", "cache_features: not for a late_interaction head"),
    ],
)
def test_what_does_not_go_together_is_refused(
    pretrained: Path, data: tuple[Path, Path], tmp_path: Path, option: str, told: str
):
    options: Any = (option,)
    if option.startswith("cache"):
        options = (option, "optimizer.freeze_layers=all")
    with pytest.raises(UserError, match=told):
        finetune(fine_tuning(pretrained, *data, *SETTINGS, *options), tmp_path / "run", quiet=True)
