"""A masked LM becomes a sparse encoder, from files to predictions."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from experiment.test_several_texts_finetuning import fine_tuning, pairs, results

from jaxbert.cli import main
from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import evaluate_labelled, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.run_files import read_run_config
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.nn.head import Head, Splade
from jaxbert.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module", autouse=True)
def _quickly(pretrained: Path):
    """LLVM's passes are most of the time that these runs take; other tests' run is made before."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


TASK = (
    "task={kind: sparse_embedding, query_flops_weight: 1e-3, document_flops_weight: 1e-3,"
    " flops_warmup_steps: 20}"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("pairs")
    return pairs(directory / "train.tsv", 80, 1), pairs(directory / "dev.tsv", 20, 2)


@pytest.fixture(scope="module")
def run(
    pretrained: Path, data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("sparse") / "run"
    finetune(fine_tuning(pretrained, *data, TASK, "checkpoint.metric=mrr"), path, quiet=True)
    return path


def test_a_masked_lm_learns_to_find_and_is_evaluated_and_predicted_alike(
    run: Path, data: tuple[Path, Path]
):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = (row for row in rows if "ranking_loss" in row)
    assert last["ranking_loss"] < first["ranking_loss"] / 2
    assert first["query_flops_loss"] == 0.0 < last["query_flops_loss"]
    assert "pooling: max\n" in (run / "config.yaml").read_text()
    model = ready(run, batch_size=16)
    assert model.loaded.head == Head("masked_lm", splade=Splade())
    metrics = evaluate_labelled(model, str(data[1]), section_of(model), Reading(24))
    names = ("loss", "ranking_loss", "mrr", "recall_at_1", "query_active_dims", "flops")
    for name in names:
        np.testing.assert_allclose(metrics[name], results(run)[f"eval_{name}"], rtol=1e-5)
    assert metrics["mrr"] > 0.9
    lines = data[1].read_text().splitlines()[1:]
    anchors, positives = np.array([line.split("\t") for line in lines]).T
    vectors = Predictor(model).sparse_vectors([*anchors, *positives]).toarray()
    scores = vectors[: len(anchors)] @ vectors[len(anchors) :].T
    nearest = positives[scores.argmax(axis=1)]
    _, firsts = np.unique(anchors, return_index=True)
    assert np.mean((nearest == positives)[firsts]) == pytest.approx(metrics["recall_at_1"])
    active = (vectors[firsts] > 0).sum(axis=1).mean()
    assert active == pytest.approx(metrics["query_active_dims"], rel=1e-6)


def test_the_command_line_tells_the_heaviest_words(
    run: Path, data: tuple[Path, Path], tmp_path: Path
):
    for name in ("found.jsonl", "found.csv"):
        out = tmp_path / name
        words = ["predict", str(run), "--data", str(data[1]), "--out", str(out), "--top-k", "3"]
        assert main(words) == 0
    first = json.loads((tmp_path / "found.jsonl").read_text().splitlines()[0])["embedding"]
    assert len(first) == 3
    assert [*first.values()] == sorted(first.values(), reverse=True)
    header, row = (tmp_path / "found.csv").read_text().splitlines()[:2]
    assert header == "embedding"
    assert json.loads(row.strip('"').replace('""', '"')) == first
    assert main(["evaluate", str(run), "--data", str(data[1])]) == 0


def test_a_model_goes_on_as_it_is_with_prompts_and_an_adapter(
    run: Path, data: tuple[Path, Path], tmp_path: Path
):
    model = tmp_path / "model"
    loaded = load_params(run)
    splade = Splade("sum", "log1p_relu")
    head = Head("masked_lm", splade=splade)
    save_params(loaded.params, loaded.config, head, load_tokenizer(run / "model"), model)
    task = "task={kind: sparse_embedding, prompts: {query: 'old ', document: 'the '}}"
    options = ("num_steps=2", "lora={rank: 2}", "packing=true")
    tuned = tmp_path / "tuned"
    finetune(fine_tuning(model, *data, task, *options), tuned, quiet=True)
    assert read_run_config(tuned)["task"]["activation"] == "log1p_relu"
    assert read_prompts(tuned / "model") == {"prompts": {"query": "old ", "document": "the "}}
    scores = []
    for directory in (tuned, tuned / "model", tuned / "adapter"):
        opened = ready(directory, batch_size=16)
        assert opened.loaded.head == head
        scores.append(evaluate_labelled(opened, str(data[1]), section_of(opened), Reading(24)))
    assert scores[1]["mrr"] == scores[0]["mrr"] == results(tuned)["eval_mrr"]
    assert scores[2]["ranking_loss"] == pytest.approx(scores[1]["ranking_loss"], rel=1e-5)


def test_a_teacher_is_a_sparse_encoder_that_was_trained(
    pretrained: Path, run: Path, data: tuple[Path, Path], tmp_path: Path
):
    def taught(teacher: Path) -> dict[str, float]:
        options = ("num_steps=1", f"distillation={{teacher: {teacher}}}")
        finetune(fine_tuning(run, *data, TASK, *options), tmp_path / "run", quiet=True)
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        return next(row for row in map(json.loads, lines) if "distillation_loss" in row)

    with pytest.raises(UserError, match="it is a masked LM, and no sparse embedding was learnt"):
        taught(pretrained)
    found = taught(run)
    assert found["distillation_loss"] == pytest.approx(0.0, abs=1e-9)
    assert found["ranking_loss"] > 0
